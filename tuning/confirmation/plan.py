"""The plan of a confirmation: its finalists within the budget with their earlier repeats, and its
expected cost.
"""

from __future__ import annotations

from dataclasses import replace

from tuning.confirmation.finalist import Finalist, missing_seconds
from tuning.confirmation.rounds import DEFAULT_SHARE, MIN_ROUNDS, Confirmation
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
            `DEFAULT_SHARE`, or more where `MIN_ROUNDS` seeds of the two best finalists and the
            baseline need more.
    """
    baseline = [f for f in finalists if f.is_baseline]
    others = sorted(
        (f for f in finalists if not f.is_baseline), key=lambda f: -sign(metric) * f.search_value
    )
    first, later = seeds[:1], seeds[1:MIN_ROUNDS]
    least = sum(f.seconds for f in [*others[:2], *baseline]) * len(seeds[:MIN_ROUNDS])
    budget = max(DEFAULT_SHARE * search_seconds, least) if share is None else share * search_seconds

    def needed_seconds() -> float:
        in_first = missing_seconds([*others, *baseline], first)
        return spent_seconds + in_first + missing_seconds([*others[:2], *baseline], later)

    while needed_seconds() > budget:
        kept = _kept(others, n=2 if share is None else 1)
        new = [f for f in others if not f.repeats and f not in kept]
        if not new:
            break
        others.remove(new[(len(new) - 1) // 2 if new[0].costs else -1])
    return Confirmation(
        metric,
        seeds,
        search_seconds,
        budget,
        [*others, *baseline],
        spent_seconds=spent_seconds,
        n_guaranteed=len(seeds[:MIN_ROUNDS]) if share is None else 0,
    )


def _kept(others: list[Finalist], *, n: int) -> list[Finalist]:
    """Return the finalists beside the baseline that stay at any cost: the `n` best, or the ends of
    a Pareto front.
    """
    return [others[0], others[-1]][:n] if others and others[0].costs else others[:n]


def expected_cost(confirmation: Confirmation, *, n_workers: int) -> tuple[int, float]:
    """Return the number of trainings of a confirmation and their seconds, under the assumption that
    each repeat gives the value of the search.
    """
    n_trainings, seconds = 0, 0.0
    planned, due = confirmation.advance()
    while due:
        for finalist, seed in due:
            planned = planned.with_repeat(
                finalist.trial, seed, finalist.search_value, seconds=finalist.seconds
            )
        n_trainings += len(due)
        seconds += sum(f.seconds for f, _ in due) / min(n_workers, len(due))
        planned, due = planned.advance()
    return n_trainings, seconds


def with_repeats(finalists: list[Finalist], earlier: list[Finalist]) -> list[Finalist]:
    """Return the finalists with their repeats from an earlier confirmation, and the other finalists
    of the earlier confirmation that have repeats. Repeats that failed for a reason that another
    call may not have are left out, so that they are trained again.
    """
    earlier = [old.retried() for old in earlier]
    of_trial = {number: old for old in earlier for number in (old.trial, *old.same)}
    taken_over = [
        replace(finalist, repeats=old.repeats, failures=old.failures)
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


def covers(old: Confirmation, new: Confirmation) -> bool:
    """Return whether an earlier confirmation has the seeds, finalists, pruned trials and budget of
    a new confirmation, and no repeat that another call may train.
    """
    budgets = new.budget_seconds <= old.budget_seconds and new.n_guaranteed <= old.n_guaranteed
    is_larger = budgets and len(new.seeds) <= len(old.seeds)
    numbers = [{f.trial for f in (*each.finalists, *each.pruned)} for each in (new, old)]
    can_be_retried = any(f != f.retried() for f in (*old.finalists, *old.pruned))
    return is_larger and numbers[0] <= numbers[1] and not can_be_retried
