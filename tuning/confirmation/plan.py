"""Which repeats a confirmation trains next, what they are expected to cost, and the repeats that it
takes over from an earlier confirmation.

The three best configurations and the baseline are trained on three fresh seeds each. The leading
two and the baseline get two more while the interval of their difference does not decide.
"""

from __future__ import annotations

from dataclasses import replace

from tuning.confirmation.estimates import difference_to_baseline, estimate, leading
from tuning.confirmation.record import Confirmation, Finalist
from tuning.evaluation.statistics import Verdict


def due(confirmation: Confirmation) -> list[tuple[Finalist, int]]:
    """Return the repeats that can be trained now, as pairs of finalist and seed, the first seed
    first; none when the confirmation is over. A finalist of which a training has failed is left
    out.
    """
    able = [f for f in confirmation.finalists if not f.failures]
    missing = _missing(able, confirmation.seeds)
    if missing:
        return missing
    further = confirmation.further_seeds
    has_begun = any(seed in f.repeats for f in confirmation.finalists for seed in further)
    # What has begun is finished, so that a call that continues makes the same decisions.
    if not has_begun and is_decided(confirmation):
        return []
    return _missing(leading(confirmation), further)


def is_over(confirmation: Confirmation) -> bool:
    return not due(confirmation)


def is_decided(confirmation: Confirmation) -> bool:
    """Return whether it is clear which of the baseline and the best other finalist is better, or
    one of the two is missing.
    """
    estimates = estimate(confirmation)
    others = [f for f in estimates.ranked if not f.is_baseline] if estimates else []
    if not others:
        return True
    difference, _ = difference_to_baseline(confirmation, others[0])
    return difference is None or difference.verdict() is not Verdict.UNCLEAR


def expected_cost(confirmation: Confirmation, *, n_workers: int) -> tuple[int, float]:
    """Return the number of the repeats that are due, and the seconds that they take together."""
    repeats = due(confirmation)
    seconds = [finalist.seconds for finalist, _ in repeats]
    return len(repeats), max(sum(seconds) / n_workers, max(seconds, default=0.0))


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
        old for old in earlier if old.repeats and old.trial not in numbers and not old.is_baseline
    ]
    return [*taken_over, *others]


def _missing(finalists: list[Finalist], seeds: list[int]) -> list[tuple[Finalist, int]]:
    # Of the trainings on one seed, the longest begins first: it would run alone at the end.
    slowest_first = sorted(finalists, key=lambda f: -f.seconds)
    return [(f, seed) for seed in seeds for f in slowest_first if seed not in f.repeats]
