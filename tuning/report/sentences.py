"""The results of a study in sentences: the search, the confirmation, the evaluation on the test
split, and what pruning saved and missed.
"""

from __future__ import annotations

import math

from optuna.trial import FrozenTrial
from scipy import stats

from tuning.config import sign
from tuning.confirmation.estimates import RESOLUTION, Estimates, estimate
from tuning.confirmation.plan import expected_cost
from tuning.confirmation.rounds import MIN_ROUNDS, Confirmation
from tuning.evaluation.linear_reference import LinearReference
from tuning.evaluation.scores import Comparison
from tuning.evaluation.statistics import LEVEL
from tuning.study.summary import CoordinatorStatus, Summary, best_of
from tuning.study.trials import (
    busy_seconds,
    is_over_limit,
    is_pruned_early,
    starting_point_text,
    value_of,
)


def verdict(summary: Summary, confirmation: Confirmation | None = None) -> str:
    """Return the result of the search in one or two sentences, or the result of its confirmation if
    there are repeats.
    """
    estimates, chosen = (
        estimate(confirmation) if confirmation else None,
        best_of(summary, confirmation),
    )
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


def comparison(name: str, result: Comparison, *, trial: int) -> str:
    """Return a sentence that compares the exported model with another model on the test split.

    `result` is the comparison with the model `name`: the difference of the accuracies and the
    p-value. `trial` is the trial of the exported model.
    """
    change = result.accuracy_difference
    size = (
        f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}] accuracy, McNemar's"
        f" p = {result.p_value:.2g}"
    )
    if change.low > 0:
        return (
            f"The exported model (trial {trial}) is ahead of the {name} on the test split: {size}."
        )
    if change.high < 0:
        return f"The exported model (trial {trial}) is behind the {name} on the test split: {size}."
    return (
        f"The exported model (trial {trial}) can't be distinguished from the {name} on the test"
        f" split: {size}."
    )


def linear_sentences(
    reference: LinearReference | None, confirmation: Confirmation | None, *, metric: str
) -> list[str]:
    """Return what is known of the linear model of a study's data: its value of the study's metric,
    and a warning if the confirmed best is behind it.
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


def plan(confirmation: Confirmation, *, n_workers: int) -> str:
    """Return what a confirmation will train and about how long that takes; empty if nothing is left
    to train.
    """
    n_trainings, seconds = expected_cost(confirmation, n_workers=n_workers)
    if not n_trainings:
        return ""
    others = ", ".join(
        f"trial {finalist.trial}"
        for finalist in confirmation.finalists
        if finalist.is_alive and not finalist.is_baseline
    )
    names = " and ".join(filter(None, [others, "the baseline" if confirmation.baseline else ""]))
    time = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    budget = ""
    if confirmation.search_seconds:
        share = confirmation.budget_seconds / confirmation.search_seconds
        budget = f"budget: {share:.0%} of the search's worker seconds"
    trainings = (
        f"about {counted(n_trainings, 'training')}, {time} with {counted(n_workers, 'worker')}"
    )
    return (
        f"Confirming {names} on up to {counted(len(confirmation.seeds), 'fresh seed')}: {trainings}"
        f" ({budget})."
    )


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, which is in the plural unless the number is 1."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def sentences(confirmation: Confirmation, estimates: Estimates) -> list[str]:
    """Return the result of a confirmation: the best configuration compared with the baseline, the
    optimism of the search, and the cost of the repeats.
    """
    best = [
        _confirmed_best(confirmation, estimates),
        _against_the_baseline(confirmation, estimates),
        *_lower_mean(confirmation, estimates),
    ]
    lines = [" ".join(best), *_optimism(confirmation, estimates)]
    if confirmation.has_costs:
        front = ", ".join(
            f"trial {finalist.trial} ({estimates.means[finalist.trial].value:.4f})"
            for finalist in estimates.front
        )
        name = "confirmed Pareto front" if estimates.is_confirmed else "Pareto front so far"
        lines.append(f"On the {name}: {front}. make export-best TRIAL=N takes one of them.")
    lines += missed_sentences(confirmation, estimates)
    lines.append(f"The repeats cost {confirmation.share:.0%} of the search.")
    return lines


def _confirmed_best(confirmation: Confirmation, estimates: Estimates) -> str:
    trial, n_seeds = estimates.best.trial, estimates.n_shared
    value = f"{confirmation.metric} {estimates.means[trial]}"
    if estimates.is_confirmed:
        return f"Trial {trial} is the confirmed best: {value} over {n_seeds} fresh seeds."
    return (
        f"Trial {trial} is ahead after {counted(n_seeds, 'fresh seed')}: {value}. Nothing is"
        f" confirmed with fewer than {MIN_ROUNDS} seeds."
    )


def _optimism(confirmation: Confirmation, estimates: Estimates) -> list[str]:
    """How much better the best value of the search is than its configuration; empty if that
    configuration has no repeats.
    """
    if estimates.optimism is None:
        return []
    naive, mean = estimates.search_best, estimates.means[estimates.search_best.trial].value
    too_good = sign(confirmation.metric) * estimates.optimism
    size = f"too good by {too_good:.4f}" if too_good > 0 else f"not too good, by {too_good:+.4f}"
    return [
        f"The search's best value, {naive.search_value:.4f} of trial {naive.trial}, is {size}: the"
        f" corrected mean of the same configuration is {mean:.4f}."
    ]


def _lower_mean(confirmation: Confirmation, estimates: Estimates) -> list[str]:
    """A warning if the baseline has a better corrected mean than the best configuration, which is
    chosen by its mean over the shared seeds.
    """
    baseline, towards = confirmation.baseline, sign(confirmation.metric)
    if (
        baseline is None
        or estimates.best.is_baseline
        or baseline.is_over_limit
        or baseline.trial not in estimates.means
    ):
        return []
    own, other = estimates.means[estimates.best.trial].value, estimates.means[baseline.trial].value
    if towards * own >= towards * other:
        return []
    return [
        f"Its corrected mean is worse than the baseline's, {other:.4f}: that it is ahead on the"
        " shared seeds may be luck."
    ]


def missed_sentences(confirmation: Confirmation, estimates: Estimates) -> list[str]:
    """Return how many of the pruned trials that were trained to the end are better than the best of
    the search; empty if no pruned trial was.

    The interval of the rate is that of Clopper and Pearson (1934), from `scipy.stats.binomtest`.
    """
    values = [value for finalist in confirmation.pruned for value in finalist.repeat_values]
    if not values:
        return []
    towards, best = sign(confirmation.metric), estimates.search_best.search_value
    n_better = sum(towards * value > towards * best for value in values)
    rate = stats.binomtest(n_better, len(values)).proportion_ci(LEVEL)
    pruned = (
        f"{len(values)} pruned trial{' was' if len(values) == 1 else 's were'} trained to the end"
    )
    return [
        f"{pruned}, drawn at random: {n_better or 'none'} better than the search's best, {best:.4f}"
        f" (between {rate.low:.0%} and {rate.high:.0%} of all that were pruned)."
    ]


def saved_sentence(summary: Summary, *, epochs: int) -> str:
    """Return the time that pruning saved, compared with a search whose trials all train for
    `epochs` epochs; empty if no trial was pruned.

    A pruned trial of n epochs saved its busy seconds * (epochs / n - 1).
    """
    pruned = [trial for trial in summary.trials if is_pruned_early(trial)]
    if not pruned:
        return ""
    saved = sum(
        busy_seconds(trial.user_attrs["seconds"]) * (epochs / trial.user_attrs["n_epochs"] - 1)
        for trial in pruned
    )
    spent = sum(busy_seconds(trial.user_attrs.get("seconds", {})) for trial in summary.trials)
    return (
        f"Pruning saved up to {saved:.0f} s of the workers, {saved / (saved + spent):.0%} of what"
        f" the search would have cost without it ({len(pruned)} trials)."
    )


def _against_the_baseline(confirmation: Confirmation, estimates: Estimates) -> str:
    if estimates.best.is_baseline:
        return (
            "It is the baseline: nothing that was tried is"
            f" {'better' if estimates.is_confirmed else 'ahead of it'}."
        )
    over = (
        " (which is over a limit)"
        if confirmation.baseline and confirmation.baseline.is_over_limit
        else ""
    )
    change, n = estimates.difference, estimates.n_pairs
    if change is None:
        return "The baseline has no repeat to compare with."
    seeds = f"on {counted(n, 'shared seed')}"
    if math.isnan(change.low):
        return (
            f"Against the baseline{over} it has {change.value:+.4f} {seeds}, too few to say whether"
            " that is chance."
        )
    if change.excludes_zero and estimates.is_confirmed:
        low, high = sorted((abs(change.low), abs(change.high)))
        word = "better" if sign(confirmation.metric) * change.value > 0 else "worse"
        return (
            f"It is {word} than the baseline{over} by {abs(change.value):.4f} [{low:.4f},"
            f" {high:.4f}] {seeds}."
        )
    more = (
        f"; {estimates.seeds_to_resolve} more seeds would resolve {RESOLUTION:g}"
        if estimates.seeds_to_resolve
        else ""
    )
    interval = f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}] {seeds}"
    if change.excludes_zero:
        return f"Against the baseline{over} it has {interval}{more}."
    return f"It is not distinguishable from the baseline{over} on these data: {interval}{more}."


def coordinator_sentences(coordinators: list[CoordinatorStatus]) -> list[str]:
    """Return a sentence per coordinator of a study, if it had more than one."""
    if len(coordinators) < 2:
        return []
    return [
        f"Coordinator {entry.coordinator}, process {entry.pid} on {entry.host},"
        f" {entry.n_workers} workers: {'left' if entry.left else 'last heartbeat'} {entry.at}"
        for entry in coordinators
    ]
