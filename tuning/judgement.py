"""What a confirmation's repeats say: corrected means, the confirmed best, its difference to the baseline, the search's optimism.

Knows no Keras and no Optuna.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tuning.config import sign
from tuning.confirmation import Confirmation, Finalist
from tuning.statistics import LEVEL, Interval

RESOLUTION = 0.01  # the difference that "n more seeds would resolve"
MAX_SEEDS = 1000


@dataclass(frozen=True)
class Judgement:
    """What a confirmation says.

    `means`: trial → corrected mean of its repeats; `best`: the confirmed best; `naive`: the best of the search; `difference`: the confirmed
    best minus the baseline over shared seeds, None where one of them has no repeat or they are the same. `front`: of several objectives,
    the finalists that no other one beats in all of them by its corrected mean; else the confirmed best alone.
    """

    best: Finalist
    naive: Finalist
    means: dict[int, Interval]
    difference: Interval | None
    n_pairs: int
    seeds_to_resolve: int | None
    front: list[Finalist]

    @property
    def optimism(self) -> float | None:
        """By how much the search's best value is above the corrected mean of the same configuration."""
        mean = self.means.get(self.naive.trial)
        return None if mean is None else self.naive.search_value - mean.value


def judge(found: Confirmation) -> Judgement | None:
    """The verdict; None before there is a repeat.

    The mean of each finalist is drawn towards that of all, by as much as the noise of the seeds explains their spread (empirical Bayes:
    Efron and Morris, 1975), which takes out what is left of the luck of the best. Those that were not given up have had the same seeds, so
    the order of their means stays. Intervals are Student's, with the variance between seeds pooled over the finalists, since each has few.
    """
    towards = sign(found.metric)
    tried = [one for one in found.finalists if one.found and not one.failures]
    if not tried:
        return None
    variance, degrees = _pooled([one.found for one in tried])
    means = _corrected(tried, variance, degrees)
    left = [one for one in tried if one.is_alive and not one.is_over_limit] or tried
    best = max(left, key=lambda one: (towards * statistics.mean(one.found), towards * one.search_value, -one.trial))
    naive = max((one for one in found.finalists if not one.is_over_limit), key=lambda one: (towards * one.search_value, -one.trial))
    difference, n_pairs, resolving = None, 0, None
    baseline = found.baseline
    if baseline in tried and best is not baseline:
        pairs = {one.trial: _differences(one, baseline) for one in tried if one is not baseline}
        own = pairs[best.trial]
        n_pairs = len(own)
        pair_variance, pair_degrees = _pooled(list(pairs.values()))
        if own:
            difference = _interval(statistics.mean(own), pair_variance / n_pairs, pair_degrees)
            resolving = _seeds_to_resolve(pair_variance, n_pairs) if pair_degrees else None
    return Judgement(best, naive, means, difference, n_pairs, resolving, _front(left, means, towards) if found.has_costs else [best])


def _front(finalists: Sequence[Finalist], means: dict[int, Interval], towards: int) -> list[Finalist]:
    found: list[Finalist] = []
    for one in sorted(finalists, key=lambda one: (-towards * means[one.trial].value, one.costs)):
        if not any(all(a <= b for a, b in zip(other.costs, one.costs, strict=True)) for other in found):
            found.append(one)
    return found


def _differences(one: Finalist, other: Finalist) -> list[float]:
    """The differences of two finalists on the seeds that both have had."""
    return [value - theirs for seed, value in one.repeats.items() if value is not None and (theirs := other.repeats.get(seed)) is not None]


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The variance within groups, and its degrees of freedom; NaN where no group has two values."""
    degrees = sum(len(group) - 1 for group in groups if group)
    squares = sum(float(np.var(group)) * len(group) for group in groups if group)
    return (squares / degrees, degrees) if degrees else (math.nan, 0)


def _corrected(finalists: Sequence[Finalist], variance: float, degrees: int) -> dict[int, Interval]:
    means = {one.trial: statistics.mean(one.found) for one in finalists}
    noise = {one.trial: variance / len(one.found) for one in finalists}
    others = [one.trial for one in finalists if not one.is_baseline]
    centre = statistics.mean([means[trial] for trial in others]) if others else math.nan
    spread = statistics.variance([means[trial] for trial in others]) if len(others) > 1 else math.nan
    between = max(spread - statistics.mean([noise[trial] for trial in others]), 0.0) if spread > 0 else math.nan
    found = {}
    for trial, mean in means.items():
        weight = between / (between + noise[trial]) if between + noise[trial] > 0 else 1.0
        corrected = centre + weight * (mean - centre) if trial in others else mean
        found[trial] = _interval(corrected, noise[trial], degrees)
    return found


def _interval(mean: float, variance_of_mean: float, degrees: int) -> Interval:
    if not degrees:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + LEVEL) / 2, degrees)) * math.sqrt(variance_of_mean)
    return Interval(mean, mean - half, mean + half)


def _seeds_to_resolve(variance: float, n_pairs: int) -> int | None:
    """How many more pairs would make the interval of their mean difference no wider than ± `RESOLUTION`."""
    for n in range(max(n_pairs, 2), MAX_SEEDS):
        if float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * math.sqrt(variance / n) <= RESOLUTION:
            return n - n_pairs
    return None
