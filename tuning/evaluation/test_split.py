"""The evaluation of models on the test split, which no other module evaluates.

The more often the test split is evaluated, the less its scores can be trusted, so the study records
each evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import optuna
import pandas as pd

from tuning.config import StudyConfig
from tuning.data.splits import rows_of
from tuning.documents import structure, unstructure
from tuning.errors import ExportError
from tuning.evaluation.predictions import NAN_REMEDY, Predictions
from tuning.evaluation.scores import (
    ACCURACY,
    Comparison,
    EnsembleFacts,
    Mistake,
    PastEvaluation,
    ScoreInterval,
    Scores,
    SplitScores,
    ThresholdChange,
)
from tuning.evaluation.statistics import (
    accuracy_difference,
    mcnemar,
    score_difference,
    score_intervals,
)
from tuning.inputs.corpus import Corpus
from tuning.metrics import METRICS, metric_of
from tuning.targets.number import rounded_text
from tuning.targets.target import Array, Labels, Target

EVALUATIONS = "test_looks"  # The attribute has this name in studies since version 0.1.0.
N_MISTAKES = 200  # number of mistakes that `test.json` keeps, with their texts
MAX_EXPLAINED = 3  # maximum number of labels whose thresholds have several sentences
MAX_SHOWN = 60  # maximum number of characters of a text in a message
BEST = "best"  # the name of the exported model
SINGLE = "confirmed best"  # the name of the best single model, if the exported model is an ensemble


@dataclass(frozen=True)
class TestEvaluation:
    """The scores of each model by its name, the comparisons of the best model with each other
    model, and the best model's most confident mistakes and probabilities. `codes`: the number of
    each observation, as for `score_intervals`; `n_groups`: as in `SplitScores`.
    """

    entries: dict[str, Scores]
    comparisons: dict[str, Comparison]
    mistakes: list[Mistake]
    predictions: Predictions
    codes: Labels
    n_groups: int | None


def evaluations_of(study: optuna.Study) -> list[PastEvaluation]:
    recorded = study.user_attrs.get(EVALUATIONS, [])
    return [structure(evaluation, PastEvaluation) for evaluation in recorded]


def named_entries(document: SplitScores) -> dict[str, Scores]:
    """Return the scores of a document's models by the names that are shown. If the best model is
    the baseline, it is shown once.
    """
    scores = document.scores
    if document.ensemble:
        ensemble = {f"exported {ensemble_name(document.ensemble)}": scores[BEST]}
        single = {
            f"{name}, trial {entry.trial}": entry for name, entry in scores.items() if name != BEST
        }
        return {**ensemble, **single, **document.references}
    is_baseline = "baseline" in scores and scores["baseline"].trial == scores[BEST].trial
    names = {name: "exported model" if name == BEST else name for name in scores}
    models = (
        {"exported baseline": scores[BEST]}
        if is_baseline
        else {names[name]: entry for name, entry in scores.items()}
    )
    return {
        **{f"{name}, trial {entry.trial}": entry for name, entry in models.items()},
        **document.references,
    }


def exported_name(document: SplitScores) -> str:
    if document.ensemble:
        return f"The exported {ensemble_name(document.ensemble)}"
    return f"The exported model (trial {document.scores[BEST].trial})"


def ensemble_sentences(document: SplitScores) -> list[str]:
    facts = document.ensemble
    if facts is None:
        return []
    best = f"trial {document.scores[SINGLE].trial}"
    members = ", ".join(
        f"trial {member.trial} with seed {member.seed} ({member.weight:.0%})"
        for member in facts.members
    )
    size, size_of_best = facts.size, facts.size_of_best
    change = facts.validation_difference.against(f"{best} alone")
    return [
        f"The ensemble is the mean of {members}.",
        f"By cross-fitting, such an ensemble is {change} in"
        " accuracy: the members were chosen on one half of the texts of the validation split, or"
        " of the folds, and measured on the other.",
        f"It has {size.n_parameters:,} parameters and takes {size.latency_ms:.1f} ms for one text;"
        f" {best} alone has {size_of_best.n_parameters:,} and takes"
        f" {size_of_best.latency_ms:.1f} ms.",
    ]


def threshold_sentences(document: SplitScores) -> list[str]:
    """Return sentences about the thresholds of an export; empty if it has none. Those of many
    labels have one sentence each.
    """
    sentences, chosen = [], document.chosen_thresholds
    for name, each in chosen.items():
        decision = f"A text is {name} from a probability of {each.threshold:.4g}"
        on_test = changes_text(each.test)
        if len(chosen) > MAX_EXPLAINED:
            sentences.append(f"{decision}; on the test split, {on_test}.")
            continue
        if not each.n_texts:
            sentences.append(f"{decision}.")
        else:
            own = " and ".join(f"{measure_name(m)} is {v:.4f}" for m, v in each.in_sample.items())
            there = f"There {own}; cross-fitted" if own else "Cross-fitted"
            sentences += [
                f"{decision}, chosen for {measure_name(each.criterion)} on {each.n_texts:,} texts"
                " on which the models were not trained.",
                f"{there}, without the optimism of the choice, {changes_text(each.cross_fitted)}.",
            ]
        sentences.append(f"On the test split, {on_test}.")
    if len(chosen) > MAX_EXPLAINED and each.n_texts:
        sentences.append(
            f"The thresholds were chosen for {measure_name(each.criterion)} on {each.n_texts:,}"
            " texts on which the models were not trained; export.json has the cross-fitted values."
        )
    if sentences:
        sentences.append("The other models decide at 0.5, and models are compared at 0.5 for both.")
    return sentences


def interval_sentences(document: SplitScores) -> list[str]:
    interval = document.interval
    if interval is None:
        return []
    coverage = interval.coverage
    value, low, high = (f"{n:.1%}" for n in (coverage.value, coverage.low, coverage.high))
    return [
        f"{interval.level:.0%} intervals are the predictions ± {rounded_text(interval.margin)}, by"
        f" {interval.n_residuals:,} predictions for texts on which the models were not trained; on"
        f" the test split they contain {value} of the labels [{low}, {high}]."
    ]


def changes_text(changes: Mapping[str, ThresholdChange]) -> str:
    """Return a clause: "F1 is 0.6500 instead of 0.5100 at 0.5 (+0.1400 [+0.0300, +0.2500])"."""
    if not changes:
        return "no value is defined, because all texts have the label, or none"
    return " and ".join(
        f"{measure_name(name)} is {change.value:.4f} instead of {change.default:.4f} at 0.5"
        f" ({change.difference.signed})"
        for name, change in changes.items()
    )


def measure_name(name: str) -> str:
    return METRICS[name].label if name in METRICS else name


def ensemble_name(ensemble: EnsembleFacts) -> str:
    return f"ensemble of {len(ensemble.members)} models"


def evaluate_on_test_split(
    study: optuna.Study,
    corpus: Corpus,
    predictions: Mapping[str, Array],
    *,
    trials: Mapping[str, int],
    frame: pd.DataFrame,
    config: StudyConfig,
    best_target: Target | None = None,
) -> TestEvaluation:
    """Evaluate several models on the test split, and record the evaluation in the study.

    Args:
        predictions: those for the split's texts, (n_texts, width), by the names of the models; one
            of them is `BEST`. A model with two names has one array.
        trials: the numbers of the models that are trials, by name.
        frame: the split's rows, like `Reviews.frame`.
        config: the study's settings; the models are also compared in its metric.
        best_target: the target of the model `BEST`, if that has thresholds. Models are compared
            without: the others might gain as much by thresholds of their own.
    """
    test, target, texts = corpus.split("test"), corpus.target, frame["text"].tolist()
    best_target = best_target or target
    # An export that fails here has seen no score, so it does not count as an evaluation.
    for name, probabilities in predictions.items():
        _require_numbers(name, probabilities, texts)
    # The evaluation is recorded before the labels are read: one that is killed in between counts.
    when = datetime.now(UTC).isoformat(timespec="seconds")
    evaluations = [*evaluations_of(study), PastEvaluation(when=when, trials=dict(trials))]
    study.set_user_attr(EVALUATIONS, [unstructure(evaluation) for evaluation in evaluations])
    labels, best = test.labels, predictions[BEST]
    rows = rows_of(frame, target)
    codes = rows.observations
    drawn: Any = {"codes": codes, "seed": config.seed}
    entries = {
        name: describe(best_target if name == BEST else target, labels, probabilities, **drawn)
        for name, probabilities in predictions.items()
    }
    if target.has_decisions:
        by_class = f1_by_class(best_target, labels, best, **drawn)
        entries[BEST] = replace(entries[BEST], test_f1_by_class=by_class)
    comparisons = {
        name: compare(target, labels, best, probabilities, config=config, codes=codes)
        for name, probabilities in predictions.items()
        if probabilities is not best
    }
    mistakes = mistakes_of(best_target, labels, best, texts)
    seen = Predictions(labels, test.texts.lengths, best, when=when, target=best_target)
    n_groups = None if codes is rows.texts else len(np.unique(codes))
    return TestEvaluation(entries, comparisons, mistakes, seen, codes, n_groups)


def compare(
    target: Target,
    labels: Labels,
    best: Array,
    other: Array,
    *,
    config: StudyConfig,
    codes: Labels,
) -> Comparison:
    models: Any = (target, labels, best, other)
    result = Comparison()
    drawn: Any = {"codes": codes, "seed": config.seed}
    if config.metric != ACCURACY:
        change = score_difference(metric_of(config.metric).name, *models, **drawn)
        # AUC is not defined if a class is missing in every resample; JSON has no NaN.
        if not math.isnan(change.value + change.low):
            result = replace(result, metric_difference=change)
    if not target.has_decisions:
        return result
    return replace(
        result,
        # The test takes the texts for independent, which those of a group are not.
        p_value=None if config.data.group_column else mcnemar(*models, codes=codes),
        accuracy_difference=accuracy_difference(*models, **drawn),
    )


def _require_numbers(name: str, probabilities: Array, texts: Sequence[str]) -> None:
    # The `argmax` of NaN is 0: it would count as a prediction of the first class.
    rows = np.flatnonzero(np.isnan(probabilities).any(axis=1))
    if len(rows):
        raise ExportError(
            f"A model must give probabilities for every text of the test split; the model {name!r}"
            f" gives NaN for {len(rows)} of {len(texts)} texts, the first of which is"
            f" {texts[rows[0]][:MAX_SHOWN]!r}. {NAN_REMEDY} If the ranges of the search space stay"
            " as they are, the corrected space can be exported without a new search."
        )


def describe(
    target: Target,
    labels: Labels,
    probabilities: Array,
    *,
    seed: int,
    codes: Labels,
) -> Scores:
    names = [metric.name for metric in target.metrics]
    found = score_intervals(target, labels, probabilities, codes=codes, seed=seed, names=names)
    intervals = {name: ScoreInterval.of(interval) for name, interval in found.items()}
    return Scores(
        test={name: interval.value for name, interval in intervals.items()},
        test_intervals={name: (each.low, each.high) for name, each in intervals.items()},
    )


def f1_by_class(
    target: Target, labels: Labels, probabilities: Array, *, seed: int, codes: Labels
) -> dict[str, ScoreInterval]:
    names = [f"f1_{number}" for number in range(target.width)]
    found = score_intervals(target, labels, probabilities, codes=codes, seed=seed, names=names)
    intervals = [ScoreInterval.of(found[name]) for name in names]
    return dict(zip(target.names, intervals, strict=True))


def mistakes_of(
    target: Target, labels: Labels, probabilities: Array, texts: Sequence[str]
) -> list[Mistake]:
    """Return the most confident wrong predictions, at most `N_MISTAKES`; none for a target without
    probabilities.
    """
    if not target.has_probabilities:
        return []
    decided = target.decide(probabilities)
    confidence = np.array(target.confidence(probabilities), dtype=np.float64)
    wrong = np.flatnonzero(~target.is_right(labels, probabilities))
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:N_MISTAKES]
    true, predicted = target.labels_of(labels[rows]), target.labels_of(decided[rows])
    return [
        Mistake(
            text=texts[row],
            label=true[number],
            predicted=predicted[number],
            probability=float(confidence[row]),
        )
        for number, row in enumerate(rows)
    ]
