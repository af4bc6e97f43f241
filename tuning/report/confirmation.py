"""Sentences about a confirmation, before it starts and after it, and the table of its finalists."""

from __future__ import annotations

import math
from dataclasses import replace

from tuning.commands import typed
from tuning.confirmation.estimates import MIN_CHANGE, Estimates
from tuning.confirmation.plan import expected_cost
from tuning.confirmation.record import MIN_SEEDS, Confirmation, Finalist
from tuning.evaluation.statistics import Verdict
from tuning.metrics import is_ahead, metric_text, n_decimals, sign
from tuning.study.trials import starting_point_name
from tuning.text import counted


def plan(confirmation: Confirmation, *, n_workers: int) -> str:
    n_trainings, seconds = expected_cost(confirmation, n_workers=n_workers)
    if not n_trainings:
        return "The confirmation has trained all its seeds."
    others = ", ".join(f"trial {f.trial}" for f in confirmation.finalists if not f.is_baseline)
    names = " and ".join(filter(None, [others, "the baseline" if confirmation.baseline else ""]))
    time = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
    seeds = counted_seeds(len(confirmation.seeds), "fresh", is_resplit=confirmation.is_resplit)
    further, n_further = "", len(confirmation.further_seeds)
    if n_further:
        further = f", and {n_further} more of the leading ones if the order is not clear"
    return (
        f"Confirming {names} on {seeds}: {counted(n_trainings, 'training')}, about {time} with"
        f" {counted(n_workers, 'worker')}{further}."
    )


def counted_seeds(n: int, kind: str, *, is_resplit: bool) -> str:
    """Return "3 fresh seeds", or "3 fresh seeds and splits"."""
    splits = f" and split{'' if n == 1 else 's'}" if is_resplit else ""
    return f"{counted(n, f'{kind} seed')}{splits}"


def sentences(estimates: Estimates, *, study: str) -> list[str]:
    confirmation = estimates.confirmation
    lines = [result_text(estimates), *_optimism(estimates)]
    if confirmation.has_costs:
        front = ", ".join(
            f"trial {finalist.trial} ({metric_text(estimates.means[finalist.trial].value)})"
            for finalist in estimates.front
        )
        name = "confirmed Pareto front" if estimates.is_confirmed else "Pareto front so far"
        command = typed("export-best", study=study, trial="N")
        lines.append(f"On the {name}: {front}. `{command}` takes one of them.")
    return lines


def result_text(estimates: Estimates) -> str:
    trial, is_resplit = estimates.best.trial, estimates.confirmation.is_resplit
    seeds = counted_seeds(estimates.n_shared, "fresh", is_resplit=is_resplit)
    value = f"{estimates.confirmation.metric} {estimates.means[trial]}"
    best = f"Trial {trial} is the confirmed best: {value} over {seeds}."
    if not estimates.is_confirmed:
        best = (
            f"Trial {trial} is ahead after {seeds}: {value}. Nothing is confirmed with fewer than"
            f" {MIN_SEEDS} seeds."
        )
    lower, luck = lower_mean(estimates), ""
    if lower is not None:
        luck = (
            f" Its corrected mean is worse than the baseline's, {metric_text(lower)}: its lead"
            " on the shared seeds may be luck."
        )
    return f"{best} {_against_the_baseline(estimates)}{luck}"


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


def finalist_rows(estimates: Estimates) -> tuple[list[str], list[list[str]]]:
    confirmation = estimates.confirmation
    finalists, has_costs = confirmation.finalists, confirmation.has_costs
    seeds = [seed for seed in confirmation.all_seeds if any(seed in f.repeats for f in finalists)]
    header = [
        "trial",
        "in the search",
        *(["other objectives"] if has_costs else []),
        *(f"seed {seed}" for seed in seeds),
        "corrected mean",
        "failed",
    ]
    table = [
        [
            f"{finalist.trial}{_role(finalist)}",
            metric_text(finalist.search_value),
            *([", ".join(f"{c:,.5g}" for c in finalist.costs)] if has_costs else []),
            *(_repeat(finalist, seed) for seed in seeds),
            str(estimates.means.get(finalist.trial, "")),
            ", ".join(dict.fromkeys(finalist.failures.values())),
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


def _repeat(finalist: Finalist, seed: int) -> str:
    value = finalist.repeats.get(seed)
    return finalist.failures.get(seed, "") if value is None else metric_text(value)
