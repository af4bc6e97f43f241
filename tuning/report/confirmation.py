"""Sentences about a confirmation, before it starts and after it, and the table of its finalists."""

from __future__ import annotations

import math
import statistics

from scipy import stats

from tuning.commands import typed
from tuning.confirmation.estimates import RESOLUTION, Estimates
from tuning.confirmation.plan import expected_cost
from tuning.confirmation.rounds import MIN_ROUNDS, Confirmation, Finalist
from tuning.evaluation.statistics import DIGITS, LEVEL, Verdict, as_shown
from tuning.metrics import sign
from tuning.study.trials import starting_point_name


def plan(confirmation: Confirmation, *, n_workers: int) -> str:
    n_trainings, seconds, worker_seconds = expected_cost(confirmation, n_workers=n_workers)
    if not n_trainings:
        return ""
    others = ", ".join(
        f"trial {finalist.trial}"
        for finalist in confirmation.finalists
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


def counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def counted_seeds(n: int, kind: str, *, is_resplit: bool) -> str:
    """Return "3 fresh seeds", or "3 fresh seeds and splits"."""
    splits = f" and split{'' if n == 1 else 's'}" if is_resplit else ""
    return f"{counted(n, f'{kind} seed')}{splits}"


def sentences(confirmation: Confirmation, estimates: Estimates, *, study: str) -> list[str]:
    best = [
        _confirmed_best(confirmation, estimates),
        _against_the_baseline(confirmation, estimates),
    ]
    lower = lower_mean(confirmation, estimates)
    if lower is not None:
        best.append(
            f"Its corrected mean is worse than the baseline's, {lower:.4f}: its lead on the shared"
            " seeds may be luck."
        )
    lines = [" ".join(best), *promise(confirmation, estimates)]
    lines += _optimism(confirmation, estimates)
    if confirmation.has_costs:
        front = ", ".join(
            f"trial {finalist.trial} ({estimates.means[finalist.trial].value:.4f})"
            for finalist in estimates.front
        )
        name = "confirmed Pareto front" if estimates.is_confirmed else "Pareto front so far"
        command = typed("export-best", study=study, trial="N")
        lines.append(f"On the {name}: {front}. `{command}` takes one of them.")
    lines += missed_sentences(confirmation, estimates)
    if confirmation.search_seconds:
        lines.append(_time(confirmation))
    return lines


def promise(confirmation: Confirmation, estimates: Estimates) -> list[str]:
    """Return the mean of the best configuration on random splits, of a study with groups or times,
    as a sentence; none where it is not better than the configuration's own mean.
    """
    trial, direction = estimates.best.trial, sign(confirmation.metric)
    repeated = (f for f in confirmation.on_random_splits if f.trial == trial)
    values = [value for finalist in repeated for value in finalist.repeat_values.values()]
    if not values:
        return []
    promised, mean = round(statistics.fmean(values), 3), round(estimates.means[trial].value, 3)
    if direction * promised <= direction * mean:
        return []
    return [f"A random split would have promised {promised:.3f} in the place of {mean:.3f}."]


def _time(confirmation: Confirmation) -> str:
    text = f"The confirmation took {confirmation.share:.0%} of the search's worker time"
    if not confirmation.is_over:
        return f"{text} so far."
    why = "all seeds are trained"
    if confirmation.is_short:
        why = f"a further seed would exceed its budget of {confirmation.budget_share:.0%}"
        if confirmation.n_guaranteed and confirmation.spent_seconds > confirmation.budget_seconds:
            why += f", which {MIN_ROUNDS} seeds of the best and the baseline may exceed"
    return f"{text} and ended because {why}."


def _confirmed_best(confirmation: Confirmation, estimates: Estimates) -> str:
    trial, is_resplit = estimates.best.trial, confirmation.is_resplit
    seeds = counted_seeds(estimates.n_shared, "fresh", is_resplit=is_resplit)
    value = f"{confirmation.metric} {estimates.means[trial]}"
    if estimates.is_confirmed:
        return f"Trial {trial} is the confirmed best: {value} over {seeds}."
    return (
        f"Trial {trial} is ahead after {seeds}: {value}. Nothing is"
        f" confirmed with fewer than {MIN_ROUNDS} seeds."
    )


def _against_the_baseline(confirmation: Confirmation, estimates: Estimates) -> str:
    if estimates.best.is_baseline:
        return f"It is the baseline: {nothing_better(confirmation, estimates)}."
    over = (
        " (which is over a limit)"
        if confirmation.baseline and confirmation.baseline.is_over_limit
        else ""
    )
    change, n = estimates.difference, estimates.n_pairs
    if change is None:
        return "The baseline has no repeat to compare with."
    change = as_shown(change)
    seeds = f"on {counted_seeds(n, 'shared', is_resplit=confirmation.is_resplit)}"
    if math.isnan(change.low):
        result = (
            f"Against the baseline{over} it has {change.value:+.4f}"
            if change.value
            else f"It equals the baseline{over}"
        )
        return f"{result} {seeds}, too few to say whether that is chance."
    verdict = change.verdict(sign(confirmation.metric))
    if verdict is not Verdict.UNCLEAR and estimates.is_confirmed:
        low, high = sorted((abs(change.low), abs(change.high)))
        return (
            f"It is {verdict} than the baseline{over} by {abs(change.value):.4f} [{low:.4f},"
            f" {high:.4f}] {seeds}."
        )
    more = (
        f"; {counted(estimates.seeds_to_resolve, 'more seed')} would narrow the interval to ±"
        f" {RESOLUTION:g}"
        if estimates.seeds_to_resolve
        else ""
    )
    interval = f"{change.signed} {seeds}"
    if verdict is not Verdict.UNCLEAR:
        return f"Against the baseline{over} it has {interval}{more}."
    return f"It is {verdict} from the baseline{over} on these data: {interval}{more}."


def nothing_better(confirmation: Confirmation, estimates: Estimates) -> str:
    others = [finalist for finalist in confirmation.finalists if not finalist.is_baseline]
    if others and all(finalist.failures for finalist in others):
        return "a training of every other configuration has failed"
    return f"nothing that was tried is {'better' if estimates.is_confirmed else 'ahead of it'}"


def lower_mean(confirmation: Confirmation, estimates: Estimates) -> float | None:
    """Return the baseline's mean if it beats the best's, which is chosen on shared seeds alone."""
    baseline, direction = confirmation.baseline, sign(confirmation.metric)
    if (
        baseline is None
        or estimates.best.is_baseline
        or baseline.is_over_limit
        or baseline.trial not in estimates.means
    ):
        return None
    own = as_shown(estimates.means[estimates.best.trial]).value
    other = as_shown(estimates.means[baseline.trial]).value
    return other if direction * own < direction * other else None


def _optimism(confirmation: Confirmation, estimates: Estimates) -> list[str]:
    if estimates.optimism is None:
        return []
    naive = estimates.search_best
    mean, value = as_shown(estimates.means[naive.trial]).value, round(naive.search_value, DIGITS)
    too_good = sign(confirmation.metric) * (value - mean)
    size = f"too good by {too_good:.4f}" if too_good > 0 else "not too good"
    corrected = f"{mean:.4f}" if too_good else "the same"
    return [
        f"The search's best value, {value:.4f} of trial {naive.trial}, is {size}: the corrected"
        f" mean of the same configuration is {corrected}."
    ]


def missed_sentences(confirmation: Confirmation, estimates: Estimates) -> list[str]:
    """Return how many of the pruned trials that were trained to the end beat the best of the
    search. The interval is of Clopper and Pearson (1934), from `scipy.stats.binomtest`.
    """
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
        f"{pruned}, drawn at random: {n_better or 'none'} better than the search's best, {best:.4f}"
        f" (between {rate.low:.0%} and {rate.high:.0%} of all that were pruned)."
    ]


def finalist_rows(
    confirmation: Confirmation, estimates: Estimates
) -> tuple[list[str], list[list[str]]]:
    seeds = [
        seed
        for seed in confirmation.seeds
        if any(seed in finalist.repeats for finalist in confirmation.finalists)
    ]
    header = [
        "trial",
        "in the search",
        *(["other objectives"] if confirmation.has_costs else []),
        *(f"seed {seed}" for seed in seeds),
        "corrected mean",
        "dropped",
    ]
    table = [
        [
            f"{finalist.trial}{_role(finalist)}",
            f"{finalist.search_value:.4f}",
            *([", ".join(f"{c:,.5g}" for c in finalist.costs)] if confirmation.has_costs else []),
            *(_repeat(finalist, seed) for seed in seeds),
            str(estimates.means.get(finalist.trial, "")),
            _end(finalist, confirmation.seeds),
        ]
        for finalist in confirmation.finalists
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
    return finalist.failures.get(seed, "") if value is None else f"{value:.4f}"
