"""Sentences about a confirmation, before it starts and after it, and the table of its finalists."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

from scipy import stats

from tuning.commands import typed
from tuning.confirmation.estimates import Estimates
from tuning.confirmation.plan import expected_cost, larger_share
from tuning.confirmation.rounds import (
    MIN_CHANGE,
    MIN_ROUNDS,
    Confirmation,
    Finalist,
)
from tuning.evaluation.statistics import LEVEL, Verdict
from tuning.metrics import is_ahead, metric_text, n_decimals, sign
from tuning.study.trials import starting_point_name
from tuning.text import counted


def plan(confirmation: Confirmation, *, n_workers: int) -> str:
    n_trainings, seconds, worker_seconds = expected_cost(confirmation, n_workers=n_workers)
    if not n_trainings:
        if confirmation.rounds < len(confirmation.seeds):
            return (
                "No further seed fits the budget of the confirmation, a share of"
                f" {confirmation.budget_share:.0%}: give a larger share, such as"
                f" {larger_share(confirmation)}."
            )
        return "The confirmation has trained all seeds."
    others = ", ".join(
        f"trial {finalist.trial}"
        for finalist in confirmation.advance()[0].finalists  # The budget drops finalists first.
        if finalist.is_remaining and not finalist.is_baseline
    )
    names = " and ".join(filter(None, [others, "the baseline" if confirmation.baseline else ""]))
    time = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    budget = ""
    if confirmation.search_seconds:
        expected = f"{worker_seconds / confirmation.search_seconds:.0%}"
        share = f"{confirmation.budget_share:.0%}"
        budget = f" ({expected} of the search's worker seconds; budget: {share})"
    trainings = (
        f"about {counted(n_trainings, 'training')}, {time} with {counted(n_workers, 'worker')}"
    )
    seeds = counted_seeds(len(confirmation.seeds), "fresh", is_resplit=confirmation.is_resplit)
    return f"Confirming {names} on up to {seeds}: {trainings}{budget}."


def counted_seeds(n: int, kind: str, *, is_resplit: bool) -> str:
    """Return "3 fresh seeds", or "3 fresh seeds and splits"."""
    splits = f" and split{'' if n == 1 else 's'}" if is_resplit else ""
    return f"{counted(n, f'{kind} seed')}{splits}"


def sentences(estimates: Estimates, *, study: str) -> list[str]:
    confirmation = estimates.confirmation
    lines = [result_text(estimates), *promise(estimates), *_optimism(estimates)]
    if confirmation.has_costs:
        front = ", ".join(
            f"trial {finalist.trial} ({metric_text(estimates.means[finalist.trial].value)})"
            for finalist in estimates.front
        )
        name = "confirmed Pareto front" if estimates.is_confirmed else "Pareto front so far"
        command = typed("export-best", study=study, trial="N")
        lines.append(f"On the {name}: {front}. `{command}` takes one of them.")
    lines += missed_sentences(estimates)
    if confirmation.search_seconds:
        lines.append(_time(confirmation))
    return lines


def result_text(estimates: Estimates) -> str:
    trial, is_resplit = estimates.best.trial, estimates.confirmation.is_resplit
    seeds = counted_seeds(estimates.n_shared, "fresh", is_resplit=is_resplit)
    value = f"{estimates.confirmation.metric} {estimates.means[trial]}"
    best = f"Trial {trial} is the confirmed best: {value} over {seeds}."
    if not estimates.is_confirmed:
        best = (
            f"Trial {trial} is ahead after {seeds}: {value}. Nothing is confirmed with fewer than"
            f" {MIN_ROUNDS} seeds."
        )
    lower, luck = lower_mean(estimates), ""
    if lower is not None:
        luck = (
            f" Its corrected mean is worse than the baseline's, {metric_text(lower)}: its lead"
            " on the shared seeds may be luck."
        )
    return f"{best} {_against_the_baseline(estimates)}{luck}"


def promise(estimates: Estimates) -> list[str]:
    """Return the mean of the best configuration on random splits or folds, of a study with groups
    or times, as a sentence beside the configuration's own mean; none before such a training.
    """
    trial, direction = estimates.best.trial, sign(estimates.confirmation.metric)
    repeated = [f for f in estimates.confirmation.on_random_splits if f.trial == trial]
    values = {seed: value for f in repeated for seed, value in f.repeat_values.items()}
    if not values:
        return []
    # Plain means, because the random splits have no finalists to correct by; over the same seeds
    # where the best has them.
    of_best = estimates.best.repeat_values
    promised = statistics.fmean(values.values())
    mean = statistics.fmean(of_best[s] for s in (of_best.keys() & values.keys()) or of_best)
    n = max(n_decimals(promised, mean) - 1, 0)
    promised, mean = round(promised, n), round(mean, n)
    is_better = direction * promised > direction * mean
    own = f" in the place of {mean:.{n}f}" if is_better else f", no better than {mean:.{n}f}"
    parts = "random folds" if any(finalist.folds for finalist in repeated) else "a random split"
    return [
        f"On validation rows, {parts} would have promised {promised:.{n}f}{own} (means that are not"
        " corrected)."
    ]


def _time(confirmation: Confirmation) -> str:
    text = f"The confirmation took {confirmation.share:.0%} of the search's worker time"
    if not confirmation.is_over:
        return f"{text} so far."
    why = "all seeds are trained"
    if confirmation.is_short:
        why = f"a further seed would exceed its budget, a share of {confirmation.budget_share:.0%}"
        if confirmation.n_guaranteed and confirmation.spent_seconds > confirmation.budget_seconds:
            why += f", which {MIN_ROUNDS} seeds of the best and the baseline may exceed"
    return f"{text} and ended because {why}."


def _against_the_baseline(estimates: Estimates) -> str:
    confirmation, change = estimates.confirmation, estimates.difference
    if estimates.best.is_baseline:
        others = [finalist for finalist in confirmation.finalists if not finalist.is_baseline]
        if others and all(finalist.failures for finalist in others):
            return "It is the baseline: a training of every other configuration has failed."
        better = "better" if estimates.is_confirmed else "ahead of it"
        return f"It is the baseline: nothing that was tried is {better}."
    if change is None:
        return "The baseline has no repeat to compare with."
    is_over = confirmation.baseline is not None and confirmation.baseline.is_over_limit
    name = f"the baseline{' (which is over a limit)' if is_over else ''}"
    seeds = counted_seeds(estimates.n_pairs, "shared", is_resplit=confirmation.is_resplit)
    direction = sign(confirmation.metric)
    is_clear, why = change.verdict(direction) is not Verdict.UNCLEAR, ""
    if math.isnan(change.low):
        why = ", too few to say whether that is chance"
    elif is_clear and change.high - change.low < MIN_CHANGE:  # Equal differences have no interval.
        change = replace(change, low=math.nan, high=math.nan)
        why = ", the same on each, which does not say what other rows would give"
    if why or (is_clear and not estimates.is_confirmed):
        return f"Against {name} it has {change.signed} on {seeds}{why}."
    return f"It is {change.against(name, direction)} on {seeds}."


def lower_mean(estimates: Estimates) -> float | None:
    """Return the baseline's mean if it beats the best's, which is chosen on shared seeds alone."""
    baseline = estimates.confirmation.baseline
    if (
        baseline is None
        or estimates.best.is_baseline
        or baseline.is_over_limit
        or baseline.trial not in estimates.means
    ):
        return None
    own, other = (estimates.means[f.trial].value for f in (estimates.best, baseline))
    return other if is_ahead(other, own, estimates.confirmation.metric) else None


def _optimism(estimates: Estimates) -> list[str]:
    if estimates.optimism is None:
        return []
    naive = estimates.search_best
    # The difference is that of the numbers in the sentence, whose reader may subtract them.
    mean, value = estimates.means[naive.trial].value, naive.search_value
    n = n_decimals(mean, value)
    mean, value = round(mean, n), round(value, n)
    too_good = sign(estimates.confirmation.metric) * (value - mean)
    size = f"too good by {too_good:.{n}f}" if too_good > 0 else "not too good"
    return [
        f"The search's best value, {value:.{n}f} of trial {naive.trial}, is {size}: the corrected"
        f" mean of the same configuration is {mean:.{n}f}."
    ]


def missed_sentences(estimates: Estimates) -> list[str]:
    """Return how many of the pruned trials that were trained to the end beat the best of the
    search. The interval is of Clopper and Pearson (1934), from `scipy.stats.binomtest`.
    """
    confirmation = estimates.confirmation
    values = [value for f in confirmation.pruned for value in f.repeat_values.values()]
    if not values:
        return []
    direction, best = sign(confirmation.metric), estimates.search_best.search_value
    n_better = sum(direction * value > direction * best for value in values)
    rate = stats.binomtest(n_better, len(values)).proportion_ci(LEVEL)
    pruned = (
        f"{len(values)} pruned trial{' was' if len(values) == 1 else 's were'} trained to the end"
    )
    return [
        f"{pruned}, drawn at random: {n_better or 'none'} better than the search's best,"
        f" {metric_text(best)} (between {rate.low:.0%} and {rate.high:.0%} of all that were"
        " pruned)."
    ]


def finalist_rows(estimates: Estimates) -> tuple[list[str], list[list[str]]]:
    confirmation = estimates.confirmation
    finalists, has_costs = confirmation.finalists, confirmation.has_costs
    seeds = [seed for seed in confirmation.seeds if any(seed in f.repeats for f in finalists)]
    header = [
        "trial",
        "in the search",
        *(["other objectives"] if has_costs else []),
        *(f"seed {seed}" for seed in seeds),
        "corrected mean",
        "dropped",
    ]
    table = [
        [
            f"{finalist.trial}{_role(finalist)}",
            metric_text(finalist.search_value),
            *([", ".join(f"{c:,.5g}" for c in finalist.costs)] if has_costs else []),
            *(_repeat(finalist, seed) for seed in seeds),
            str(estimates.means.get(finalist.trial, "")),
            _end(finalist, confirmation.seeds),
        ]
        for finalist in finalists
    ]
    if not any(row[-1] for row in table):
        return header[:-1], [row[:-1] for row in table]
    return header, table


def _role(finalist: Finalist) -> str:
    if finalist.is_baseline:
        return " (baseline)"
    name = starting_point_name(finalist.starting_point, is_linear=finalist.linear_ngrams)
    return f" ({name})" if name else ""


def _end(finalist: Finalist, seeds: list[int]) -> str:
    if finalist.dropped_in:
        seed = seeds[finalist.dropped_in - 1]
        return f"{'after' if seed in finalist.repeats else 'before'} seed {seed}"
    return ", ".join(finalist.failures.values())


def _repeat(finalist: Finalist, seed: int) -> str:
    value = finalist.repeats.get(seed)
    return finalist.failures.get(seed, "") if value is None else metric_text(value)
