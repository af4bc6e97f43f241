"""The plan of a confirmation: its finalists within the budget with their earlier repeats, its
expected cost, and the repeats for ensembles and on random splits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import replace

from tuning.confirmation.estimates import estimate
from tuning.confirmation.rounds import (
    DEFAULT_SHARE,
    MIN_ROUNDS,
    Confirmation,
    Finalist,
    missing_seconds,
)
from tuning.metrics import sign


def plan_confirmation(
    finalists: list[Finalist],
    *,
    metric: str,
    seeds: list[int],
    search_seconds: float,
    spent_seconds: float = 0.0,
    share: float | None = None,
) -> Confirmation:
    """Return a confirmation with the finalists that leave time for `MIN_ROUNDS` seeds of the two
    best finalists and the baseline.

    Finalists that have repeats from an earlier confirmation, which took `spent_seconds`, always
    stay: their repeats cost nothing. Of a Pareto front, the middle is left out first, so that the
    best and the cheapest configuration stay. The same call after a confirmation that is over adds
    no finalist, unless one of the two best is new.

    Args:
        share: maximum of all worker seconds, as a share of the search's worker seconds. None:
            `DEFAULT_SHARE`, or more for `MIN_ROUNDS` seeds of the two best finalists and the
            baseline (`Confirmation.is_bounded`).
    """
    baseline = [f for f in finalists if f.is_baseline]
    others = sorted(
        (f for f in finalists if not f.is_baseline), key=lambda f: -sign(metric) * f.search_value
    )
    first, later = seeds[:1], seeds[1:MIN_ROUNDS]
    least = sum(f.seconds for f in [*others[:2], *baseline]) * len(seeds[:MIN_ROUNDS])
    budget = (DEFAULT_SHARE if share is None else share) * search_seconds
    room = max(budget, least) if share is None else budget

    def needed_seconds(others: list[Finalist]) -> float:
        in_first = missing_seconds([*others, *baseline], first)
        kept = [f for f in others if f in others[:2] or not f.is_trained]
        return spent_seconds + in_first + missing_seconds([*kept, *baseline], later)

    while needed_seconds(others) > room:
        # The two best finalists stay at any cost (one with a given `share`), or the front's ends.
        best = [others[0], others[-1]] if others and others[0].costs else others[:2]
        kept = best if share is None else best[:1]
        new = [f for f in others if not f.repeats and f not in kept]
        trained = [f for f in new if f.is_trained]
        if not trained:
            # Models that are not trained cost seconds: they are left out if the others then fit.
            without = [f for f in others if f.is_trained or f not in new]
            if share is not None and needed_seconds(without) <= room:
                others = without
            break
        others.remove(trained[(len(trained) - 1) // 2 if trained[0].costs else -1])
    return Confirmation(
        metric,
        seeds,
        search_seconds,
        budget,
        [*others, *baseline],
        spent_seconds=spent_seconds,
        n_guaranteed=len(seeds[:MIN_ROUNDS]) if share is None else 0,
        is_bounded=share is None,
    )


def expected_cost(confirmation: Confirmation, *, n_workers: int) -> tuple[int, float, float]:
    """Return the number of trainings, their seconds, and the worker seconds of all repeats at the
    end, if repeats have the search's values.
    """
    n_trainings, seconds = 0, 0.0
    planned, due = confirmation.advance()
    known = (folds for finalist in planned.finalists for folds in finalist.folds.values())
    n_folds = max(map(len, known), default=0)
    while due:
        for finalist, seed in due:
            value = finalist.search_value
            planned = planned.with_repeat(
                finalist.trial, seed, value, seconds=finalist.seconds, folds=[value] * n_folds
            )
        n_trainings += len(due)
        seconds += sum(f.seconds for f, _ in due) / min(n_workers, len(due))
        planned, due = planned.advance()
    return n_trainings, seconds, planned.spent_seconds


def larger_share(confirmation: Confirmation) -> int:
    """Return a budget for `confirm` that leaves at least half of the search's time after the seeds
    that are not trained yet.
    """
    remaining = [finalist for finalist in confirmation.finalists if finalist.is_remaining]
    missing = missing_seconds(remaining, confirmation.seeds[confirmation.rounds :])
    seconds = confirmation.search_seconds
    return math.ceil(confirmation.share + (missing / seconds if seconds else 0.0) + 0.5)


def further_seeds(confirmation: Confirmation) -> dict[str, int]:
    """Return the options with which `confirm` trains the finalists on further seeds; none if it
    does so without options, because the confirmation is not over.
    """
    if not confirmation.is_over:
        return {}
    if confirmation.is_short:
        return {"share": larger_share(confirmation)}
    longer = replace(confirmation, seeds=[*confirmation.seeds, max(confirmation.seeds) + 1])
    return {"seeds": len(longer.seeds), "share": larger_share(longer)}


def with_repeats(finalists: list[Finalist], earlier: list[Finalist]) -> list[Finalist]:
    """Return the finalists with their repeats from an earlier confirmation, and the other finalists
    of the earlier confirmation that have repeats. Repeats that failed for a reason that another
    call may not have are left out, so that they are trained again.
    """
    earlier = [old.retried() for old in earlier]
    of_trial = {number: old for old in earlier for number in (old.trial, *old.same)}
    taken_over = [
        replace(finalist, repeats=old.repeats, folds=old.folds, failures=old.failures)
        if (old := of_trial.get(finalist.trial))
        else finalist
        for finalist in finalists
    ]
    numbers = {number for finalist in finalists for number in (finalist.trial, *finalist.same)}
    others = [
        replace(old, dropped_in=0)
        for old in earlier
        if old.repeats and old.trial not in numbers and not old.is_baseline
    ]
    return [*taken_over, *others]


def stored_or_new(
    stored: Confirmation | None, plan: Callable[[float], Confirmation]
) -> Confirmation:
    """Return the stored confirmation if it covers the new plan, or if it is over and the plan has
    nothing to train; else the plan. `plan`: returns it for the seconds that count as spent.
    """
    if stored is None:
        return plan(0.0)
    # Repeats that were faster than expected leave time for further finalists. The same call must
    # not use it, or it would change a confirmation that is over.
    expected = sum(f.seconds * len(f.repeats) for f in stored.finalists)
    if covers(stored, plan(max(stored.spent_seconds, expected))):
        return stored
    new = plan(stored.spent_seconds)
    if not stored.is_over or new.advance()[1]:
        return new
    # Such a plan may lack a finalist that the stored confirmation has. Further seeds, and a larger
    # budget that they do not fit, are a part of what was asked for, and of why it has ended.
    if len(new.seeds) > len(stored.seeds) or new.budget_seconds > stored.budget_seconds:
        return replace(stored, seeds=new.seeds, budget_seconds=new.budget_seconds)
    return stored


def covers(old: Confirmation, new: Confirmation) -> bool:
    """Return whether an earlier confirmation has the seeds, finalists, pruned trials and budget of
    a new confirmation, and no repeat that another call may train.
    """
    is_guaranteed = new.n_guaranteed <= max(old.n_guaranteed, old.rounds)
    budgets = new.budget_seconds <= old.budget_seconds and is_guaranteed
    is_larger = budgets and len(new.seeds) <= len(old.seeds)
    numbers = [{f.trial for f in (*each.finalists, *each.pruned)} for each in (new, old)]
    can_be_retried = any(f != f.retried() for f in (*old.finalists, *old.pruned))
    return is_larger and numbers[0] <= numbers[1] and not can_be_retried


def other_architectures(
    candidates: Iterable[Finalist],
    finalists: Iterable[Finalist],
    *,
    deciding: Collection[str],
    metric: str,
) -> list[Finalist]:
    """Return the best candidate of each architecture that no finalist has, best first; of equal
    candidates, the first.

    Args:
        deciding: the hyperparameters that decide which others are active. An architecture is a
            combination of their values.
    """
    # Models that err on different texts make a better ensemble, and the finalists are often of one
    # architecture.

    def architecture(finalist: Finalist) -> Hashable:
        return tuple((name, finalist.values.get(name)) for name in sorted(deciding))

    ranked = sorted(candidates, key=lambda f: -sign(metric) * f.search_value)
    taken = {architecture(finalist) for finalist in finalists}
    best: dict[Hashable, Finalist] = {}
    for candidate in ranked:
        if architecture(candidate) not in taken:
            best.setdefault(architecture(candidate), candidate)
    return [*best.values()]


def on_own_split(confirmation: Confirmation) -> list[Finalist]:
    """Return the finalists whose repeats have fresh splits, to train on the study's own split."""
    finalists = confirmation.finalists if confirmation.is_resplit else []
    able = (f for f in finalists if f.repeats and not f.failures and not f.is_over_limit)
    return [replace(f, repeats={}, dropped_in=0) for f in able]


def due_others(confirmation: Confirmation) -> tuple[Confirmation, list[tuple[Finalist, int]]]:
    """Return the confirmation, and the missing repeats of its `others` (configuration, seed)."""
    seed = confirmation.seeds[0]
    return confirmation, [(other, seed) for other in confirmation.others if not other.repeats]


def due_on_random_splits(
    confirmation: Confirmation,
) -> tuple[Confirmation, list[tuple[Finalist, int]]]:
    """Return the confirmation with its best configuration among `on_random_splits`, and the missing
    repeats there: on the first `MIN_ROUNDS` seeds of the configuration's own repeats.
    """
    estimates = estimate(confirmation)
    if estimates is None:
        return confirmation, []
    best, known = estimates.best, confirmation.on_random_splits
    again = next((f for f in known if f.trial == best.trial), None)
    if again is None:
        again = replace(best, repeats={}, dropped_in=0)
        confirmation = replace(confirmation, on_random_splits=[*known, again])
    seeds = [seed for seed in confirmation.seeds if seed in best.repeats][:MIN_ROUNDS]
    return confirmation, [(again, seed) for seed in seeds if seed not in again.repeats]


def trained_of(confirmation: Confirmation) -> list[Finalist]:
    """Return the configurations whose predictions of the study's own validation split may have been
    kept.
    """
    finalists = [] if confirmation.is_resplit else confirmation.finalists
    return [*finalists, *confirmation.others]
