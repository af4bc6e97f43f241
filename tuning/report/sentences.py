"""The results of a study in sentences: the search, the evaluation on the test split, and the
linear model.
"""

from __future__ import annotations

import math
import statistics

from optuna.trial import FrozenTrial

from tuning.commands import typed
from tuning.config import SPLITS, StudyConfig
from tuning.confirmation.estimates import estimate
from tuning.confirmation.record import Confirmation
from tuning.evaluation.linear_reference import LinearReference
from tuning.evaluation.scores import Comparison, Scores, SplitScores, TestDocument
from tuning.evaluation.statistics import Verdict, interval_text
from tuning.evaluation.test_split import (
    BEST,
    ensemble_sentences,
    exported_name,
    interval_sentences,
    threshold_sentences,
)
from tuning.inputs.data_card import DataCard
from tuning.metrics import CLASSES, Metric, is_ahead, metric_of, metric_text, n_decimals, sign
from tuning.report.confirmation import lower_mean, result_text, sentences
from tuning.study.summary import Summary, best_of
from tuning.study.trials import attributes_of, is_over_limit, starting_point_text, value_of
from tuning.targets.kinds import constant_names
from tuning.text import counted


def answer(
    summary: Summary,
    confirmation: Confirmation | None,
    test: TestDocument | None,
    linear: LinearReference | None,
    *,
    constant: str = "",
) -> str:
    """`constant`: as `constant_sentence` returns it."""
    best, estimates = best_of(summary, confirmation), estimate(confirmation)
    if test is not None:
        return _answer_on_test(test, summary)
    if best is None or estimates is None or not best.is_confirmed:
        return verdict(summary, confirmation)
    behind = behind_linear(linear, confirmation, study=summary.study)
    is_behind = lower_mean(estimates) is not None or behind or constant
    use = f"{'Do not use' if is_behind else 'Use'} trial {best.trial.number}"
    texts = [f"{use}{' yet' if is_behind else ''}.", result_text(estimates)]
    bar = linear.value(summary.metric) if linear else None
    if bar is not None:
        parts = "split" if summary.step == "epoch" else "folds"
        own = f" on the study's own {parts}" if estimates.confirmation.is_resplit else ""
        texts.append(f"The linear model has {metric_text(bar)}{own}.")
    return " ".join(texts)


def _answer_on_test(test: TestDocument, summary: Summary) -> str:
    direction, metric = sign(summary.metric), metric_of(summary.metric)
    is_over = summary.baseline is not None and is_over_limit(summary.baseline)
    clauses, is_behind, at_default = [], False, math.nan
    scores = test.scores | test.references
    for other in filter(None, ("baseline", _best_linear(test, summary.metric))):
        result = test.comparisons.get(other)
        change = result.difference(summary.metric) if result else None
        if change is None:
            continue
        at_default = (scores[other].test.get(metric.name) or 0.0) + change.value
        limited = other == "baseline" and is_over
        shown = f"the {other}{' (which is over a limit)' if limited else ''}"
        clauses.append(change.against(shown, direction))
        # A baseline over a limit can't be chosen, so it is no reason against the model.
        is_behind |= not limited and change.verdict(direction) is Verdict.WORSE
    name = exported_name(test)
    model = f"{name[0].lower()}{name[1:]}"
    lead = f"Do not use {model} yet" if is_behind else f"Use {model}"
    if is_behind and summary.has_costs:  # A lower cost may be worth a lower value.
        lead = f"Compare the costs before you use {model}"
    value, own = _on_test(test.scores[BEST], metric), ""
    score = test.scores[BEST].test.get(metric.name)
    is_same = score is not None and math.isclose(score, at_default, abs_tol=1e-9)
    # Models are compared without thresholds, so the score with them is in a sentence of its own.
    if clauses and test.chosen_thresholds and not is_same:
        own = f" With its own threshold{'s' * (len(test.chosen_thresholds) > 1)} it is {value}."
        value = f"{metric_text(at_default)} at 0.5"
    compared = f", {' and '.join(clauses)}" if clauses else ""
    return f"{lead}: its {metric.label} on the test split is {value}{compared}.{own}"


def _on_test(scores: Scores, metric: Metric) -> str:
    # AUC is not defined where a class has no text, and R² where all labels are equal.
    return interval_text(*scores.interval(metric.name)) or "not defined"


def verdict(summary: Summary, confirmation: Confirmation | None = None) -> str:
    estimates, chosen, newer = estimate(confirmation), best_of(summary, confirmation), ""
    if estimates:
        if chosen is None or chosen.is_confirmed or not estimates.is_confirmed:
            return " ".join(sentences(estimates, study=summary.study))
        newer = (
            f" It is newer than the confirmation, whose best is trial {estimates.best.trial}:"
            f" `{typed('confirm', study=summary.study)}` repeats it."
        )
    if chosen is None:
        return f"No trial is complete yet. {summary.over_limit_sentence}".rstrip()
    best, baseline, role = chosen.trial, summary.baseline, starting_point_text(chosen.trial)
    text = (
        f"The best of the search, of {counted(summary.n_finished, 'finished trial')}, is trial"
        f" {best.number}"
        f"{f' ({role})' if role else ''} with {summary.metric} {metric_text(value_of(best))}"
    )
    if baseline is None:
        trials = (t for t in summary.trials if attributes_of(t).get("baseline"))
        is_over = all(trial.state.is_finished() for trial in trials)
        end = "ended without a value" if is_over else "is not complete yet"
        text += f"; the baseline {end}, so nothing is compared with it."
    elif best is baseline:
        text += ": the baseline itself. Nothing that was tried is better."
    else:
        text += f", {_in_the_search(best, baseline)}."
    text += (
        f" Each value is of one seed on {summary.evaluated_on}, so a small difference may be"
        " chance."
    )
    if summary.has_costs:
        numbers = ", ".join(str(trial.number) for trial in summary.front)
        command = typed("export-best", study=summary.study, trial="N")
        text += f" On the Pareto front: trials {numbers}. `{command}` takes one of them."
    return f"{text}{newer}"


def _in_the_search(best: FrozenTrial, baseline: FrozenTrial) -> str:
    over = ", over a limit" if is_over_limit(baseline) else ""
    name = f"baseline (trial {baseline.number}{over})"
    values = value_of(best), value_of(baseline)
    n = n_decimals(*values)
    value, other = (round(each, n) for each in values)
    # The difference is that of the digits that are shown.
    return f"against {other:.{n}f} of the {name}, a difference of {value - other:+.{n}f}"


def export_sentences(document: SplitScores, metric: str) -> list[str]:
    return [
        *ensemble_sentences(document),
        *threshold_sentences(document),
        *interval_sentences(document),
        *(
            comparison(name, result, exported=exported_name(document), metric=metric)
            for name, result in document.comparisons.items()
            if result.difference(metric) or result.accuracy_difference
        ),
    ]


def comparison(name: str, result: Comparison, *, exported: str, metric: str) -> str:
    known = result.difference(metric)  # An earlier version compared the accuracies alone.
    change = known or result.accuracy_difference
    assert change is not None  # for mypy: `export_sentences` leaves such models out
    score, direction = (metric_of(metric).label, sign(metric)) if known else ("accuracy", 1)
    p = ""
    # McNemar's test is about the accuracy. A value below 1e-300 rounds to 0.
    if result.p_value is not None and score == "accuracy":
        p = f"; McNemar's p {f'= {result.p_value:.2g}' if result.p_value else '< 1e-300'}"
    return (
        f"{exported} is {change.against(f'the {name}', direction)} in {score} on the test split{p}."
    )


def linear_sentences(
    reference: LinearReference | None,
    confirmation: Confirmation | None,
    test: TestDocument | None = None,
    *,
    study: str,
    metric: str,
    space: str = "",
) -> list[str]:
    """Compare the exported model with the best linear reference on the test split. Before an
    export, give the linear model's value on the validation rows, and a warning if the confirmed
    best is behind it.
    """
    name = _best_linear(test, metric) if test else None
    if test and name:
        linear, shown, direction = test.references[name], metric_of(metric), sign(metric)
        value = f"{shown.label} {_on_test(linear, shown)}"
        texts = [
            f"The best linear model on the test split is {name} ({linear.about}), with {value}."
        ]
        result = test.comparisons.get(name)
        if result is not None and (change := result.difference(metric)):
            texts.append(f"{exported_name(test)} is {change.against('it', direction)}.")
            if change.verdict(direction) is Verdict.WORSE:
                texts.append(_behind_remedy(study, space))
        return texts
    if reference is None:
        return []
    behind = "" if test else behind_linear(reference, confirmation, study=study, space=space)
    return [reference.sentence(metric), *([behind] if behind else [])]


def _best_linear(test: TestDocument, metric: str) -> str | None:
    names = [name for name in test.references if name not in constant_names()]

    def value(name: str) -> float:
        own = test.references[name].test.get(metric_of(metric).name)
        return -math.inf if own is None else sign(metric) * own

    return max(names, key=value, default=None)


def _behind_remedy(study: str, space: str) -> str:
    further, spaces = typed("tune", study=study, n_trials="N"), typed("spaces")
    named = "" if space == "ngrams" else ": `ngrams` is a linear model that can be exported"
    return (
        f"Continue the search with more trials (`{further}`), or search another space (`{spaces}`"
        f" lists them){named}."
    )


def behind_linear(
    reference: LinearReference | None,
    confirmation: Confirmation | None,
    *,
    study: str,
    space: str = "",
) -> str:
    estimates = estimate(confirmation)
    if reference is None or estimates is None or not estimates.is_confirmed:
        return ""
    best, metric = estimates.best, estimates.confirmation.metric
    # The linear model is on the study's own split or folds, on which the search has its value. The
    # mean is the plain one: the corrected mean of a model that equals the linear model would be
    # behind it.
    is_resplit = estimates.confirmation.is_resplit
    value = best.search_value if is_resplit else statistics.fmean(best.repeat_values.values())
    # The best was ahead of these finalists on fresh rows, such as of the linear model itself.
    tried = [f.search_value for f in estimates.confirmation.finalists if f.repeat_values]
    if is_resplit and not all(reference.is_ahead_of(other, metric) for other in tried):
        return ""
    which = "in the search" if is_resplit else "mean that is not corrected"
    bar = reference.value(metric)
    if bar is None or not reference.is_ahead_of(value, metric):
        return ""
    return (
        f"The confirmed best, trial {best.trial}, is behind the linear model on the validation"
        f" rows: {metric} {metric_text(value)} ({which}) against {metric_text(bar)}."
        f" {_behind_remedy(study, space)}"
    )


def constant_sentence(
    confirmation: Confirmation | None, card: DataCard, config: StudyConfig
) -> str:
    """Return a warning if the accuracy of the confirmed best is not above the share of the largest
    class.
    """
    estimates, n_folds = estimate(confirmation), config.train.n_folds
    # Folds and fresh draws by groups or times evaluate other rows than the card counts.
    is_drawn = n_folds > 1 or (confirmation is not None and confirmation.is_resplit)
    is_known = card.predicts in CLASSES and (config.data.split == "random" or not is_drawn)
    if not (estimates and estimates.is_confirmed and config.metric == "val_accuracy" and is_known):
        return ""
    splits = SPLITS[1:2] if n_folds == 1 else SPLITS[:2]
    counts = [sum(of) for of in zip(*(card.class_counts[name] for name in splits), strict=True)]
    n_largest, name = max(zip(counts, card.class_names, strict=True))
    share, best = n_largest / sum(counts), estimates.best
    if is_ahead(statistics.fmean(best.repeat_values.values()), share, config.metric):
        return ""
    return (
        f"Trial {best.trial} is not better than always predicting {name!r} ({config.metric}"
        f" {metric_text(share)}). Check the columns of texts and labels, or search for another"
        " metric, such as val_f1_macro."
    )
