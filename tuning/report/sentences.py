"""The results of a study in sentences: the search, the evaluation on the test split, and the
linear model.
"""

from __future__ import annotations

import math

from optuna.trial import FrozenTrial

from tuning.commands import typed
from tuning.confirmation.estimates import Estimates, estimate
from tuning.confirmation.rounds import Confirmation
from tuning.evaluation.linear_reference import LinearReference
from tuning.evaluation.scores import Comparison, TestDocument, default_rule
from tuning.evaluation.statistics import DIGITS, Interval, Verdict, as_shown, interval_text
from tuning.evaluation.test_split import BEST, exported_name
from tuning.metrics import metric_of, sign
from tuning.report.confirmation import (
    counted_seeds,
    lower_mean,
    nothing_better,
    promise,
    sentences,
)
from tuning.study.summary import Best, Summary, best_of
from tuning.study.trials import is_over_limit, starting_point_text, value_of
from tuning.targets.kinds import constant_names


def answer(
    summary: Summary,
    confirmation: Confirmation | None,
    test: TestDocument | None,
    linear: LinearReference | None,
) -> str:
    best = best_of(summary, confirmation)
    estimates = estimate(confirmation) if confirmation else None
    if test is not None:
        return _answer_on_test(test, summary)
    if not confirmation or not estimates or not best or not best.is_confirmed or not best.mean:
        state = "nothing is confirmed yet"
        if estimates and estimates.is_confirmed:
            state = f"it is newer than the confirmation, whose best is trial {estimates.best.trial}"
        return _unconfirmed(summary, best, state)
    number = best.trial.number
    bar = linear.value(summary.metric) if linear else None
    lower, is_resplit = lower_mean(confirmation, estimates), confirmation.is_resplit
    beside = _beside_linear(confirmation, estimates)
    is_behind = lower is not None or (
        linear is not None
        and summary.step == "epoch"
        and linear.is_ahead_of(beside, summary.metric)
    )
    use = f"{'Do not use' if is_behind else 'Use'} trial {number}{' yet' if is_behind else ''}"
    seeds = counted_seeds(estimates.n_shared, "fresh", is_resplit=is_resplit)
    text = (
        f"{use}, the confirmed best: its mean {summary.metric} over {seeds}"
        f"{'' if is_resplit else f' on {summary.evaluated_on}'} is {best.mean}"
    )
    if best.trial is summary.baseline:
        text += f"; it is the baseline, and {nothing_better(confirmation, estimates)}"
    elif estimates.difference is not None:
        other = _baseline_name(summary)
        text += f", {against(f'the {other}', estimates.difference, sign(summary.metric))}"
        text += f", whose mean is {lower:.4f}" if lower is not None else ""
    if bar is not None:
        text += f"; the linear model has {bar:.4f}"
        text += " on the study's own split" if is_resplit or summary.step == "fold" else ""
    return " ".join([f"{text}.", *promise(confirmation, estimates)])


def _answer_on_test(test: TestDocument, summary: Summary) -> str:
    """Compare the exported model with the baseline and with the best linear reference, in the
    study's metric. A baseline over a limit can't be chosen, so it is no reason against the model.
    With several objectives, a lower value may be what a lower cost is worth. Models are compared
    without thresholds, so the score of an export that has some is in a sentence of its own.
    """
    direction, metric = sign(summary.metric), metric_of(summary.metric)
    clauses, is_behind, at_default = [], False, math.nan
    scores = test.scores | test.references
    for other in filter(None, ("baseline", _best_linear(test, summary.metric))):
        result = test.comparisons.get(other)
        change = result.difference(summary.metric) if result else None
        if change is None:
            continue
        at_default = (scores[other].test.get(metric.name) or 0.0) + change.value
        shown = _baseline_name(summary) if other == "baseline" else other
        clauses.append(against(f"the {shown}", change, direction))
        is_over = other == "baseline" and _is_baseline_over_limit(summary)
        is_behind |= not is_over and change.verdict(direction) is Verdict.WORSE
    name, exported = exported_name(test), test.scores[BEST]
    model = f"{name[0].lower()}{name[1:]}"
    lead = f"Do not use {model} yet" if is_behind else f"Use {model}"
    if is_behind and summary.has_costs:
        lead = f"Compare the costs before you use {model}"
    n_texts = sum(map(sum, exported.test_confusion_matrix))
    texts = f"{n_texts:,} test texts" if n_texts else "the test split"
    value = interval_text(*exported.interval(metric.name))
    own = ""
    if clauses and test.chosen_thresholds and not value.startswith(f"{at_default:.4f}"):
        n_thresholds = sum(len(each.thresholds) for each in test.chosen_thresholds.values())
        own = f" With its own threshold{'s' * (n_thresholds > 1)} it is {value}."
        value = f"{at_default:.4f} {default_rule(test.chosen_thresholds)}"
    compared = f", {' and '.join(clauses)}" if clauses else ""
    return f"{lead}: its {metric.label} on {texts} is {value}{compared}.{own}"


def _is_baseline_over_limit(summary: Summary) -> bool:
    return summary.baseline is not None and is_over_limit(summary.baseline)


def _baseline_name(summary: Summary) -> str:
    return f"baseline{' (which is over a limit)' if _is_baseline_over_limit(summary) else ''}"


def against(other: str, change: Interval, direction: int) -> str:
    """Return a clause about a difference to another model; `direction` is -1 if less is better."""
    change = as_shown(change)
    if math.isnan(change.low):
        return f"against {other} {change.value:+.4f}" if change.value else f"equal to {other}"
    verdict = change.verdict(direction)
    word = "from" if verdict is Verdict.UNCLEAR else "than"
    return f"{verdict} {word} {other} ({change.signed})"


def _unconfirmed(summary: Summary, best: Best | None, state: str) -> str:
    if best is None:
        return "No trial is complete yet."
    baseline, value, against = summary.baseline, f"{value_of(best.trial):.4f}", ""
    if baseline is not None:
        other = f"{value_of(baseline):.4f}"
        against = f", against {other} of the baseline"
        if best.trial is baseline:
            against = ", the baseline itself"
        elif other == value:
            against = ", which the baseline has too"
    return (
        f"Trial {best.trial.number} leads with {summary.metric} {value}{against}, but each value is"
        f" {summary.each_value}, and {state}."
    )


def verdict(summary: Summary, confirmation: Confirmation | None = None) -> str:
    return f"{best_sentence(summary, confirmation)} {gain_sentence(summary, confirmation)}".rstrip()


def gain_sentence(summary: Summary, confirmation: Confirmation | None = None) -> str:
    if summary.gain is None:
        return ""
    gain = summary.gain.measured(confirmation)
    value, error = gain.expected.value, gain.expected.high - gain.expected.value
    text = f"Ten more trials are expected to gain {value:.4f} ± {error:.4f} in {summary.metric}"
    if gain.spread is None:
        return f"{text}."
    size = "not more" if gain.is_small else "more"
    change = f"the best trials change from {summary.step} to {summary.step}"
    spread = "the spread between seeds" if gain.is_measured else change
    return f"{text}, {size} than {spread}, {gain.spread:.4f}."


def best_sentence(summary: Summary, confirmation: Confirmation | None = None) -> str:
    estimates = estimate(confirmation) if confirmation else None
    chosen = best_of(summary, confirmation)
    newer = ""
    if confirmation and estimates:
        if chosen is None or chosen.is_confirmed or not estimates.is_confirmed:
            return " ".join(sentences(confirmation, estimates, study=summary.study))
        newer = (
            f" It is newer than the confirmation, whose best is trial {estimates.best.trial}:"
            f" `{typed('confirm', study=summary.study)}` repeats it."
        )
    best, baseline = chosen.trial if chosen else None, summary.baseline
    if best is None:
        over = (
            f" {summary.n_over_limit} are over a limit: raise it, or search smaller models."
            if summary.n_over_limit
            else ""
        )
        return f"No trial is complete yet.{over}"
    text = _best_text(best, summary)
    if baseline is None:
        return f"{text}; the baseline is not complete yet.{newer}"
    if best is baseline:
        return (
            f"{text}: the baseline itself. Nothing that was tried is"
            f" better.{_front_sentence(summary)}{newer}"
        )
    return (
        f"{text}, {_in_the_search(best, baseline)}. Each is of one seed on"
        f" {summary.evaluated_on}, so a small difference may be"
        f" chance.{_front_sentence(summary)}{newer}"
    )


def _best_text(best: FrozenTrial, summary: Summary) -> str:
    role = starting_point_text(best)
    return (
        f"The best of the search, of {summary.n_finished} finished trials, is trial {best.number}"
        f"{f' ({role})' if role else ''} with {summary.metric} {value_of(best):.4f}"
    )


def _in_the_search(best: FrozenTrial, baseline: FrozenTrial) -> str:
    over = ", over a limit" if is_over_limit(baseline) else ""
    name = f"baseline (trial {baseline.number}{over})"
    value, other = (round(value_of(trial), DIGITS) for trial in (best, baseline))
    # The digits that are shown are compared: a difference of +0.0000 would be no difference.
    if value == other:
        return f"which the {name} has too"
    return f"against {other:.4f} of the {name}, a difference of {value - other:+.4f}"


def _front_sentence(summary: Summary) -> str:
    if not summary.has_costs:
        return ""
    numbers = ", ".join(str(trial.number) for trial in summary.front)
    command = typed("export-best", study=summary.study, trial="N")
    return f" On the Pareto front: trials {numbers}. `{command}` takes one of them."


def comparison(name: str, result: Comparison, *, exported: str, metric: str) -> str:
    known = result.difference(metric)  # An earlier version compared the accuracies alone.
    change = known or result.accuracy_difference
    assert change is not None
    score = metric_of(metric).label if known else "accuracy"
    place = {
        Verdict.BETTER: "is ahead of",
        Verdict.WORSE: "is behind",
        Verdict.UNCLEAR: "can't be distinguished from",
    }[change.verdict(sign(metric) if known else 1)]
    size = f"{change.signed} {score}"
    if result.p_value is not None:
        p = f"= {result.p_value:.2g}" if result.p_value else "< 1e-300"  # A smaller p rounds to 0.
        size += f", McNemar's p {p}"
    return f"{exported} {place} the {name} on the test split: {size}."


def linear_sentences(
    reference: LinearReference | None,
    confirmation: Confirmation | None,
    test: TestDocument | None = None,
    *,
    study: str,
    metric: str,
) -> list[str]:
    """Compare the exported model with the best linear reference on the test split. Before an
    export, give the linear model's value on the validation split, and a warning if the confirmed
    best is behind it; with folds there is no `confirmation` on that split.
    """
    name = _best_linear(test, metric) if test else None
    if test and name:
        return _linear_on_test(test, name, study=study, metric=metric)
    if reference is None:
        return []
    behind = "" if test else behind_linear(reference, confirmation, study=study)
    return [reference.sentence(metric), *([behind] if behind else [])]


def _best_linear(test: TestDocument, metric: str) -> str | None:
    names = [name for name in test.references if name not in constant_names()]

    def value(name: str) -> float:
        own = test.references[name].test.get(metric_of(metric).name)
        return -math.inf if own is None else sign(metric) * own

    return max(names, key=value, default=None)


def _linear_on_test(test: TestDocument, name: str, *, study: str, metric: str) -> list[str]:
    """Compare the exported model with a linear reference in the study's metric."""
    linear, exported, shown = test.references[name], exported_name(test), metric_of(metric)
    value = f"{shown.label} {interval_text(*linear.interval(shown.name))}"
    first = f"The best linear model on the test split is {name} ({linear.about}), with {value}."
    result = test.comparisons.get(name)
    if result is None or (change := result.difference(metric)) is None:
        return [first]
    second = {
        Verdict.BETTER: f"{exported} is ahead of it: {change.signed}.",
        Verdict.WORSE: f"{exported} is behind it: {change.signed}. {_behind_remedy(study)}",
        Verdict.UNCLEAR: (
            f"{exported} can't be distinguished from it: {change.signed}. The test split does not"
            " show which of the two is better."
        ),
    }[change.verdict(sign(metric))]
    return [first, second]


def _behind_remedy(study: str) -> str:
    further, spaces = typed("tune", study=study, n_trials="N"), typed("spaces")
    return (
        f"Continue the search with more trials (`{further}`), or search another space (`{spaces}`"
        " lists them): `ngrams` is a linear model that can be exported."
    )


def _beside_linear(confirmation: Confirmation, estimates: Estimates) -> float:
    """Return the value of the confirmed best to compare with that of the linear model, which is on
    the study's own split. With fresh splits it is the value in the search, on the same rows.
    """
    best = estimates.best
    return best.search_value if confirmation.is_resplit else estimates.means[best.trial].value


def behind_linear(
    reference: LinearReference | None, confirmation: Confirmation | None, *, study: str
) -> str:
    estimates = estimate(confirmation) if confirmation else None
    if reference is None or confirmation is None or estimates is None:
        return ""
    best, metric = estimates.best.trial, confirmation.metric
    value = _beside_linear(confirmation, estimates)
    if not estimates.is_confirmed or not reference.is_ahead_of(value, metric):
        return ""
    return (
        f"The confirmed best, trial {best}, is behind the linear model on the validation split:"
        f" {metric} {value:.4f} against {reference.value(metric):.4f}."
        f" {_behind_remedy(study)}"
    )
