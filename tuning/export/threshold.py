"""The decision thresholds of an export, and the intervals of its numbers: from predictions for rows
on which the models were not trained, before the test split is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tuning.errors import StudyError
from tuning.evaluation.out_of_sample import Rows, out_of_sample
from tuning.evaluation.predictions import Predictions
from tuning.evaluation.scores import ChosenThreshold, PredictionInterval
from tuning.evaluation.statistics import Verdict, wilson_interval
from tuning.evaluation.test_split import changes_text
from tuning.evaluation.thresholds import choose_thresholds
from tuning.export.description import ChosenTrial, best_trial
from tuning.export.ensemble import Ensemble
from tuning.inputs.corpus import Corpus
from tuning.targets.number import LEVEL
from tuning.targets.target import Target
from tuning.targets.thresholds import DEFAULT, UNDER, Criterion

MAX_NAMES = 3  # maximum number of labels that a warning names


def require_thresholds(target: Target) -> list[str]:
    """Return the names of the decisions that thresholds make, of which there must be one."""
    none = np.zeros((0, target.width))
    names = [*target.binary_decisions(none[:, 0] if target.is_exclusive else none, none)]
    if not names:
        kind = f"kind {target.kind!r} with {len(target.names)} names" if target.names else "numbers"
        raise StudyError(
            "threshold must be left out unless a study has two classes or several labels; this one"
            f" has {kind}."
        )
    return names


def out_of_sample_rows(chosen: ChosenTrial, corpus: Corpus) -> Rows | None:
    """Return None if no repeat of the trial has kept its predictions."""
    study = chosen.study
    if study.confirmation is None:
        return None
    found = out_of_sample(study.folder, corpus, study.confirmation, trial=chosen.trial.number)
    return found.pooled if found else None


def margin_rows(chosen: ChosenTrial, corpus: Corpus, *, warn: Callable[[str], None]) -> Rows | None:
    """Return the rows that the intervals of numbers are made of; `warn` gets a sentence if no
    repeat of the trial has kept its predictions.
    """
    rows = out_of_sample_rows(chosen, corpus)
    if rows is None:
        warn(f"Predictions have no intervals: {_no_repeat(chosen)}, and export again.")
    return rows


def _no_repeat(chosen: ChosenTrial) -> str:
    study, number = chosen.study, chosen.trial.number
    finalists = [each.trial for each in study.confirmation.finalists] if study.confirmation else []
    # Another confirmation has the best trial as a finalist, and the user may not have named it.
    if finalists and number not in [*finalists, best_trial(study).number]:
        return (
            f"trial {number} is no finalist of the confirmation. Leave trial out for the best"
            " configuration"
        )
    return f"no repeat of trial {number} has kept its predictions. {study.confirm_remedy}"


def interval_of(target: Target, rows: Rows | None, seen: Predictions) -> PredictionInterval | None:
    if target.margin is None or rows is None:
        return None
    within = np.abs(seen.probabilities[:, 0] - seen.labels) <= target.margin
    return PredictionInterval(
        level=LEVEL,
        margin=target.margin,
        n_residuals=len(rows.labels),
        coverage=wilson_interval(int(within.sum()), len(within)),
    )


def _worse_sentence(chosen: Mapping[str, ChosenThreshold], criterion: Criterion) -> str:
    """Return a sentence about the decisions that thresholds make clearly worse by cross-fitting.
    A constraint may cost something of the other measure, and says nothing here.
    """
    measure = criterion.measure
    worse = {
        name: changes_text({measure: change})
        for name, each in chosen.items()
        if (change := each.cross_fitted.get(measure))
        and change.difference.verdict() is Verdict.WORSE
    }
    if not worse or criterion.minimum is not None:
        return ""
    n_more = len(worse) - MAX_NAMES
    names = f"{', '.join([*worse][:MAX_NAMES])}{f' and {n_more} more' if n_more > 0 else ''}"
    return (
        f"The threshold {criterion.text} is worse than 0.5 for {names}: cross-fitted,"
        f" {next(iter(worse.values()))}{' for the first' if len(worse) > 1 else ''}. Leave"
        " threshold out."
    )


def thresholds_of(
    chosen: ChosenTrial,
    ensemble: Ensemble | None,
    corpus: Corpus,
    criterion: Criterion,
    *,
    warn: Callable[[str], None],
) -> dict[str, ChosenThreshold]:
    """Return the thresholds of an export, chosen on the predictions of the repeats of its trial, or
    on those of the cross-fitted ensemble. A number that the user gives is not chosen, and the
    default threshold gives none. `warn` gets a sentence about thresholds that are clearly worse.
    """
    names = require_thresholds(corpus.target)
    if criterion.number == DEFAULT:
        return {}
    if criterion.number is not None:
        given = ChosenThreshold(threshold=criterion.number, criterion=criterion.text)
        return dict.fromkeys(names, given)
    rows = ensemble.held_out if ensemble else out_of_sample_rows(chosen, corpus)
    if rows is None:
        raise StudyError(
            "A threshold must be chosen on rows on which the model was not trained;"
            f" {_no_repeat(chosen)}, or give a number as threshold."
        )
    thresholds = choose_thresholds(corpus.target, rows, criterion, seed=chosen.config.seed)
    kept, measure = UNDER.get(criterion.measure, ""), criterion.measure
    for name, each in thresholds.items():
        reached = each.in_sample.get(kept, 1.0)
        if reached < (criterion.minimum or 0.0):
            best = each.in_sample.get(measure)
            with_measure = "" if best is None else f", with a {measure} of {best:.4f}"
            raise StudyError(
                f"threshold {criterion.text} can't be kept on the texts on which the model was not"
                f" trained: the highest {kept} for {name} is {reached:.4f}{with_measure}."
                " Give a smaller number."
            )
    if worse := _worse_sentence(thresholds, criterion):
        warn(worse)
    return thresholds
