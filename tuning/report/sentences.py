"""The results of a study in sentences: the search, the evaluation on the test split, the linear
model, what pruning saved, and the coordinators.
"""

from __future__ import annotations

import math

from optuna.trial import FrozenTrial

from tuning.config import sign
from tuning.confirmation.estimates import estimate
from tuning.confirmation.rounds import Confirmation
from tuning.evaluation.linear_reference import LinearReference
from tuning.evaluation.scores import MAJORITY, Comparison, TestDocument
from tuning.evaluation.statistics import Interval, interval_text
from tuning.evaluation.test_split import BEST, exported_name
from tuning.report.confirmation import sentences
from tuning.study.summary import Best, CoordinatorStatus, Summary, best_of
from tuning.study.trials import (
    attributes_of,
    busy_seconds,
    is_over_limit,
    is_pruned_early,
    seconds_of,
    starting_point_text,
    value_of,
)


def answer(
    summary: Summary,
    confirmation: Confirmation | None,
    test: TestDocument | None,
    linear: LinearReference | None,
) -> str:
    """Return a sentence with the model to use, its score, and its differences to the models that it
    is compared with: on the test split, or on the validation split before an export.
    """
    if test is not None:
        return _answer_on_test(test)
    best = best_of(summary, confirmation)
    estimates = estimate(confirmation) if confirmation else None
    if best is None or estimates is None or not best.is_confirmed or best.mean is None:
        return _unconfirmed(summary, best)
    number = best.trial.number
    bar = linear.value(summary.metric) if linear else None
    is_behind = linear is not None and linear.is_ahead_of(best.mean.value, summary.metric)
    use = f"{'Do not use' if is_behind else 'Use'} trial {number}{' yet' if is_behind else ''}"
    text = (
        f"{use}, the confirmed best: its mean {summary.metric} over"
        f" {estimates.n_shared} fresh seeds on the validation split is {best.mean}"
    )
    if best.trial is summary.baseline:
        text += "; it is the baseline, and nothing that was tried is better"
    elif estimates.difference is not None:
        text += f", {_against('baseline', estimates.difference, sign(summary.metric))}"
    return text + ("." if bar is None else f"; the linear model has {bar:.4f}.")


def _answer_on_test(test: TestDocument) -> str:
    """Compare the exported model with the baseline and with the better linear reference."""
    names = [name for name in test.references if name != MAJORITY]
    names.sort(key=lambda name: -(test.references[name].test["accuracy"] or 0.0))
    compared = {
        name: test.comparisons[name].accuracy_difference
        for name in ("baseline", *names[:1])
        if name in test.comparisons
    }
    name, exported = exported_name(test), test.scores[BEST]
    n_texts = sum(map(sum, exported.test_confusion_matrix))
    is_behind = any(change.high < 0 for change in compared.values())
    accuracy = interval_text(*exported.interval("accuracy"))
    clauses = " and ".join(_against(other, change, 1) for other, change in compared.items())
    return (
        f"{'Do not use' if is_behind else 'Use'} {name[0].lower()}{name[1:]}"
        f"{' yet' if is_behind else ''}: its accuracy on {n_texts:,} test texts is {accuracy}"
        f"{clauses and f', {clauses}'}."
    )


def _against(name: str, change: Interval, towards: int) -> str:
    """Return a clause about a difference to another model; `towards` is -1 if less is better."""
    if math.isnan(change.low):
        return f"against the {name} {change.value:+.4f}"
    size = f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
    if not change.excludes_zero:
        return f"not distinguishable from the {name} ({size})"
    return f"{'better' if towards * change.value > 0 else 'worse'} than the {name} ({size})"


def _unconfirmed(summary: Summary, best: Best | None) -> str:
    if best is None:
        return "No trial is complete yet."
    baseline, against = summary.baseline, ""
    if baseline is not None:
        value = f", against {value_of(baseline):.4f} of the baseline"
        against = ", the baseline itself" if best.trial is baseline else value
    return (
        f"Trial {best.trial.number} leads with {summary.metric} {value_of(best.trial):.4f}"
        f"{against}, but each value is of one training, and nothing is confirmed yet."
    )


def verdict(summary: Summary, confirmation: Confirmation | None = None) -> str:
    """Return the result of the search in one or two sentences, or the result of its confirmation if
    there are repeats.
    """
    estimates = estimate(confirmation) if confirmation else None
    chosen = best_of(summary, confirmation)
    newer = ""
    if confirmation and estimates:
        if chosen is None or chosen.is_confirmed or not estimates.is_confirmed:
            return " ".join(sentences(confirmation, estimates))
        newer = (
            f" It is newer than the confirmation, whose best is trial {estimates.best.trial}: `make"
            " confirm` repeats it."
        )
    best, baseline = summary.best, summary.baseline
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
    change = value_of(best) - value_of(baseline)
    over = ", over a limit" if is_over_limit(baseline) else ""
    return (
        f"{text}, against {value_of(baseline):.4f} of the baseline (trial {baseline.number}{over}),"
        f" a difference of {change:+.4f}. Each is one training with one seed on the validation"
        f" split, so a small difference may be chance.{_front_sentence(summary)}{newer}"
    )


def _best_text(best: FrozenTrial, summary: Summary) -> str:
    role = starting_point_text(best)
    return (
        f"The best of the search, of {summary.n_finished} finished trials, is trial {best.number}"
        f"{f' ({role})' if role else ''} with {summary.metric} {value_of(best):.4f}"
    )


def _front_sentence(summary: Summary) -> str:
    if not summary.has_costs:
        return ""
    numbers = ", ".join(str(trial.number) for trial in summary.front)
    return f" On the Pareto front: trials {numbers}. make export-best TRIAL=N takes one of them."


def comparison(name: str, result: Comparison, *, exported: str) -> str:
    """Return a sentence that compares the exported model with another model on the test split.

    `result` is the comparison with the model `name`: the difference of the accuracies and the
    p-value. `exported` is the exported model as the subject of the sentence.
    """
    change = result.accuracy_difference
    size = (
        f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}] accuracy, McNemar's"
        f" p = {result.p_value:.2g}"
    )
    if change.low > 0:
        return f"{exported} is ahead of the {name} on the test split: {size}."
    if change.high < 0:
        return f"{exported} is behind the {name} on the test split: {size}."
    return f"{exported} can't be distinguished from the {name} on the test split: {size}."


def linear_sentences(
    reference: LinearReference | None, confirmation: Confirmation | None, *, metric: str
) -> list[str]:
    """Return sentences about the linear model of a study's data: its value of the study's metric,
    and a warning if the confirmed best is behind the linear model.
    """
    if reference is None:
        return []
    behind = behind_linear(reference, confirmation)
    return [reference.sentence(metric), *([behind] if behind else [])]


def behind_linear(reference: LinearReference | None, confirmation: Confirmation | None) -> str:
    """Return a warning if the confirmed best is behind the linear model on the validation split;
    empty if not, or if nothing is confirmed.
    """
    estimates = estimate(confirmation) if confirmation else None
    if reference is None or confirmation is None or estimates is None:
        return ""
    best, metric = estimates.best.trial, confirmation.metric
    mean = estimates.means[best].value
    if not estimates.is_confirmed or not reference.is_ahead_of(mean, metric):
        return ""
    return (
        f"The confirmed best, trial {best}, is behind the linear model on the validation split:"
        f" {metric} {mean:.4f} against {reference.value(metric):.4f}. Continue the search with more"
        " trials (make tune TRIALS=N), search another space (make spaces lists them), or use the"
        " linear model."
    )


def saved_sentence(summary: Summary, *, epochs: int) -> str:
    """Return the time that pruning saved, compared with a search whose trials all train for
    `epochs` epochs; empty if no trial was pruned.

    A pruned trial of n epochs saved its busy seconds * (epochs / n - 1). The seconds of a trial
    that was paused, and pruned after its worker had died, are not known and count as 0.
    """
    pruned = [trial for trial in summary.trials if is_pruned_early(trial)]
    if not pruned:
        return ""
    saved = sum(
        busy_seconds(seconds_of(trial)) * (epochs / attributes_of(trial)["n_epochs"] - 1)
        for trial in pruned
    )
    spent = sum(busy_seconds(seconds_of(trial)) for trial in summary.trials)
    return (
        f"Pruning saved up to {saved:.0f} s of the workers, {saved / (saved + spent):.0%} of what"
        f" the search would have cost without it ({len(pruned)} trials)."
    )


def coordinator_sentences(coordinators: list[CoordinatorStatus]) -> list[str]:
    """Return a sentence per coordinator of a study, if it had more than one."""
    if len(coordinators) < 2:
        return []
    return [
        f"Coordinator {entry.coordinator}, process {entry.pid} on {entry.host},"
        f" {entry.n_workers} workers: {'left' if entry.left else 'last heartbeat'} {entry.at}"
        for entry in coordinators
    ]
