"""What a confirmation's repeats say: corrected means, the best, its difference to the baseline, the
search's optimism.

Knows no Keras and no Optuna.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuning.config import sign
from tuning.confirmation.rounds import MIN_ROUNDS, Confirmation, Finalist
from tuning.evaluation.statistics import Interval, dunnett_critical_value, pareto_front

RESOLUTION = 0.01  # the difference that "n more seeds would resolve"
MAX_SEEDS = 1000
DIGITS = 12  # of a mean: what least squares leave beyond must not break a tie


@dataclass(frozen=True)
class Judgement:
    """What a confirmation says.

    `best`: the finalist with the best mean over the `n_shared` seeds that all who are left have
    had; `naive`: the best of the search; `means`: trial → corrected mean of its repeats;
    `difference`: `best` minus the baseline over the `n_pairs` seeds that both have had, None where
    one of them has no repeat or they are the same. `front`: of several objectives, the finalists
    that no other one beats in all of them by its mean over the shared seeds, `best` first; else
    `best` alone.
    """

    best: Finalist
    n_shared: int
    naive: Finalist
    means: dict[int, Interval]
    difference: Interval | None
    n_pairs: int
    seeds_to_resolve: int | None
    front: list[Finalist]

    @property
    def is_confirmed(self) -> bool:
        """Whether `best` may be called the confirmed best; before, it is ahead."""
        return self.n_shared >= MIN_ROUNDS

    @property
    def optimism(self) -> float | None:
        """By how much the search's best value is above the corrected mean of the same
        configuration.
        """
        mean = self.means.get(self.naive.trial)
        return None if mean is None else self.naive.search_value - mean.value


def judge(found: Confirmation) -> Judgement | None:
    """The verdict; None before all who are left have a repeat on the same seed.

    The mean of each finalist is drawn towards that of all, by as much as what differs from seed to
    seed between them explains their spread (empirical Bayes: Efron and Morris, 1975), which takes
    out what is left of the luck of the best, and does not change their order. The baseline was not
    chosen for being good, and its mean is left as it is; it competes by that with the others' own
    means. Intervals are Student's, with the variance between seeds pooled over the finalists, since
    each has few. The best was picked out of several finalists, so the interval of its difference to
    the baseline is Dunnett's for the number of finalists begun with: the intervals of all their
    differences would hold them together with a probability of 0.95.
    """
    towards = sign(found.metric)
    tried = [one for one in found.finalists if one.found and not one.failures]
    within = [one for one in found.finalists if not one.failures and not one.is_over_limit]
    left = [one for one in within if one.is_alive] or [one for one in within if one.found]
    shared = set.intersection(*(set(_known(one.repeats)) for one in left)) if left else set()
    if not shared:
        return None
    means = _corrected(tried, _layout({one.trial: _known(one.repeats) for one in tried}))

    def standing(one: Finalist) -> tuple[Any, ...]:
        own = _known(one.repeats)
        mean = round(statistics.mean(own[seed] for seed in shared), DIGITS)
        return towards * mean, [-cost for cost in one.costs], towards * one.search_value, -one.trial

    ranked = sorted(left, key=standing, reverse=True)
    best = ranked[0]
    naive = max(
        (one for one in found.finalists if not one.is_over_limit),
        key=lambda one: (towards * one.search_value, -one.trial),
    )
    difference, n_pairs, resolving = _against_the_baseline(found, tried, best)
    front = pareto_front(ranked, lambda one: one.costs) if found.has_costs else [best]
    return Judgement(best, len(shared), naive, means, difference, n_pairs, resolving, front)


def _against_the_baseline(
    found: Confirmation, tried: Sequence[Finalist], best: Finalist
) -> tuple[Interval | None, int, int | None]:
    """The best's difference to the baseline, over how many pairs, and how many more of them would
    resolve `RESOLUTION`.
    """
    baseline = found.baseline
    if baseline is None or baseline not in tried or best is baseline:
        return None, 0, None
    pairs = {one.trial: _differences(one, baseline) for one in tried if one is not baseline}
    own = list(pairs[best.trial].values())
    if not own:
        return None, 0, None
    noise, n = _layout(pairs), sum(not one.is_baseline for one in found.finalists)
    difference = _interval(
        statistics.mean(own), noise.variance / len(own), noise.degrees, n_compared=n
    )
    return (
        difference,
        len(own),
        _seeds_to_resolve(noise.variance, len(own), n_finalists=n) if noise.degrees else None,
    )


def _known(repeats: Mapping[int, float | None]) -> dict[int, float]:
    return {seed: value for seed, value in repeats.items() if value is not None}


def _differences(one: Finalist, other: Finalist) -> dict[int, float]:
    """The differences of two finalists on the seeds that both have had."""
    ours, theirs = _known(one.repeats), _known(other.repeats)
    return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}


@dataclass(frozen=True)
class _Layout:
    """Values by trial and seed, which the trials share.

    `variance` over seeds of one value, with its `degrees` of freedom (NaN and 0 where no trial has
    two seeds): what a seed does to all trials is seen but once, so they are Satterthwaite's (1946)
    of the sum of both parts. `rest`: the part that is not the seed's alone, which is what two
    trials on the same seeds differ by. `means`: of each trial over all seeds, by least squares
    where it lacks some.
    """

    variance: float
    degrees: float
    rest: float
    means: dict[int, float]


def _layout(values: Mapping[int, Mapping[int, float]]) -> _Layout:
    groups = {trial: group for trial, group in values.items() if group}
    seeds = sorted({seed for group in groups.values() for seed in group})
    design, column = [], []
    for row, group in enumerate(groups.values()):
        for seed, value in group.items():
            design.append(
                [float(row == other) for other in range(len(groups))]
                + [float(seed == other) for other in seeds]
            )
            column.append(value)
    table, observed = np.array(design), np.array(column)
    effects, _, rank, _ = np.linalg.lstsq(table, observed, rcond=None)
    over_all = effects[: len(groups)] + effects[len(groups) :].mean()
    means = {
        trial: round(float(mean), DIGITS) for trial, mean in zip(groups, over_all, strict=True)
    }
    within = len(observed) - len(groups)
    squares = sum(float(np.var(list(group.values()))) * len(group) for group in groups.values())
    rest, free = float(((observed - table @ effects) ** 2).sum()), len(observed) - int(rank)
    if not within:
        return _Layout(math.nan, 0.0, math.nan, means)
    of_seeds, n_of_seeds = max(squares - rest, 0.0), within - free
    spread = (of_seeds**2 / n_of_seeds if n_of_seeds else 0.0) + (rest**2 / free if free else 0.0)
    degrees = (
        min(max(squares**2 / spread, 1.0), float(within)) if spread > 0 else float(within)
    )  # 1: of values that differ by rounding
    return _Layout(squares / within, degrees, rest / free if free else math.nan, means)


def _corrected(finalists: Sequence[Finalist], layout: _Layout) -> dict[int, Interval]:
    others = [one.trial for one in finalists if not one.is_baseline]
    noise = {one.trial: layout.rest / len(one.found) for one in finalists}
    centre = statistics.mean([layout.means[trial] for trial in others]) if others else math.nan
    spread = (
        statistics.variance([layout.means[trial] for trial in others])
        if len(others) > 1
        else math.nan
    )
    between = (
        max(spread - statistics.mean([noise[trial] for trial in others]), 0.0)
        if spread > 0
        else math.nan
    )
    found = {}
    for one in finalists:
        mean = layout.means[one.trial]
        total = between + noise[one.trial]
        weight = between / total if total > 0 else 1.0
        corrected = mean if one.is_baseline else centre + weight * (mean - centre)
        found[one.trial] = _interval(corrected, layout.variance / len(one.found), layout.degrees)
    return found


def _interval(
    mean: float, variance_of_mean: float, degrees: float, *, n_compared: int = 1
) -> Interval:
    """Student's interval of a mean, or Dunnett's of the difference of one of `n_compared` to a
    control; NaN without degrees of freedom.
    """
    if not degrees:
        return Interval(mean, math.nan, math.nan)
    half = dunnett_critical_value(n_compared, round(degrees, 3)) * math.sqrt(variance_of_mean)
    return Interval(mean, mean - half, mean + half)


def _seeds_to_resolve(variance: float, n_pairs: int, *, n_finalists: int) -> int | None:
    """How many more pairs would make the interval of their mean difference no wider than ±
    `RESOLUTION`; None: `MAX_SEEDS` would not.
    """

    def resolves(n: int) -> bool:
        return dunnett_critical_value(n_finalists, n - 1) * math.sqrt(variance / n) <= RESOLUTION

    n = bisect.bisect_left(
        range(MAX_SEEDS), True, lo=max(n_pairs, 2), key=resolves
    )  # an interval narrows with every pair
    return n - n_pairs if n < MAX_SEEDS else None
