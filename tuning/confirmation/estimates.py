"""Estimates from the repeats of a confirmation: corrected means, the best finalist, its difference
to the baseline, and the optimism of the search.

Imports neither Keras nor Optuna.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tuning.confirmation.record import MIN_SEEDS, Confirmation, Finalist
from tuning.evaluation.statistics import (
    Interval,
    dunnett_critical_value,
    effective_number,
    pareto_front,
)
from tuning.metrics import metric_of, sign

# Each comparison with the baseline counts as three in the critical value, because it may be made
# twice: before the further seeds and after them. With two, a finalist that equals the baseline is
# called better in 2.7 % of simulated confirmations, and with three in 2.4 % (docs/benchmarks.md).
N_COMPARISONS = 3
MIN_CHANGE = 1e-9  # differences that vary less are equal, except for errors of rounding
DIGITS = 12  # decimal digits of a mean, so that errors of rounding break no tie


@dataclass(frozen=True)
class Estimates:
    """The estimates from the repeats of a confirmation so far.

    Attributes:
        best: the leading finalist with the best mean over the shared seeds.
        n_shared: number of seeds on which every leading finalist has a repeat.
        search_best: the finalist with the best value in the search.
        means: corrected mean of the repeats by trial number.
        difference: `best` minus the baseline over the seeds that both have repeats on; None where
            one of the two has no repeat, or `best` is the baseline.
        n_pairs: number of the seeds of `difference`.
        front: with several objectives, the finalists that no other finalist beats in all
            objectives by the means over the shared seeds, `best` first; else `best` alone.
        ranked: the leading finalists with repeats, except those over a limit, best first.
    """

    best: Finalist
    n_shared: int
    search_best: Finalist
    means: dict[int, Interval]
    difference: Interval | None
    n_pairs: int
    front: list[Finalist]
    ranked: list[Finalist]
    confirmation: Confirmation

    @property
    def is_confirmed(self) -> bool:
        """Whether enough seeds are shared to call `best` the confirmed best."""
        return self.n_shared >= MIN_SEEDS

    @property
    def optimism(self) -> float | None:
        """The search's best value minus the corrected mean of the same configuration; None where
        that configuration has no mean.
        """
        mean = self.means.get(self.search_best.trial)
        return None if mean is None else self.search_best.search_value - mean.value


def estimate(confirmation: Confirmation | None) -> Estimates | None:
    """Compute the estimates from the repeats of a confirmation.

    docs/confirmation.md has the reasons. The value y_is of finalist i on seed s is fitted by
    m_i + b_s, by least squares. n_i is the number of repeats of finalist i, r² the variance of the
    residuals, and v the variance of y_is over the seeds, pooled over the finalists, with ν degrees
    of freedom (`_TwoWayFit`). The baseline has a fit of its own, because a model whose accuracy
    differs by 0.1 from seed to seed gives no information about the effect of a seed on the other
    models, nor about their variance. The finalists whose best epoch is 0 have one too.

    The corrected mean of a finalist that was chosen for its value in the search is the empirical
    Bayes estimate (Efron and Morris, 1975), over the k finalists beside the baseline that have
    repeats, none of which failed:

        c_i = m + w_i (m_i - m)        with  m   = mean of m_1 … m_k
        w_i = t² / (t² + r² / n_i)           t²  = max(variance of m_1 … m_k - mean of r² / n_i, 0)

    The baseline has w = 1, because it was not chosen for its value; w is also 1 where k < 2. The
    interval of a mean is Student's:

        c_i ± T(0.975, ν) √(v / n_i)

    cut to the values that the metric can have: an error is 0 or more, a share is in [0, 1], and R²
    and quadratic kappa are at most 1.

    `best` is chosen by the plain means over the shared seeds, and its difference to the baseline is
    the mean d of y_best,s - y_baseline,s over the n seeds that both have repeats on. The interval
    of the difference is Dunnett's (1955), where D is the two-sided critical value for K comparisons
    with one control, K the number of finalists beside the baseline, times `N_COMPARISONS` if there
    may be further seeds, and v and ν are those of the differences to the baseline of all finalists
    of the kind of `best`:

        d ± D(0.95, K, ν) √(v / n)

    If each seed has a split of its own, n is the `effective_number`, because the splits share rows.
    If each seed draws folds, every fold counts as a seed here, because each row is evaluated once
    by every seed: the means of seeds differ much less than those of other data would.

    Finalists of a later confirmation that have no repeat yet are left out if the others share
    `MIN_SEEDS` seeds.

    Returns:
        The estimates; None without a confirmation, and while the leading finalists share no seed.
    """
    if confirmation is None:
        return None
    direction, overlap = sign(confirmation.metric), confirmation.overlap
    repeated = [f for f in confirmation.finalists if f.repeat_values and not f.failures]
    leaders = [f for f in leading(confirmation) if not f.is_over_limit]
    begun = [f for f in leaders if f.repeat_values]
    seeds = set.intersection(*(set(f.repeat_values) for f in begun)) if begun else set()
    if not seeds or (len(begun) < len(leaders) and len(seeds) < MIN_SEEDS):
        return None
    bounds = metric_of(confirmation.metric).bounds
    means: dict[int, Interval] = {}
    for kind in itertools.product((True, False), repeat=2):
        group = [f for f in repeated if (f.is_baseline, f.is_trained) == kind]
        if group:
            means |= _corrected_means(group, bounds=bounds, overlap=overlap)

    ranked = _ranked(begun, seeds, direction=direction)
    best = ranked[0]
    search_best = max(
        (f for f in confirmation.finalists if not f.is_over_limit),
        key=lambda f: (direction * f.search_value, -f.trial),
    )
    difference, n_pairs = difference_to_baseline(confirmation, best)
    front = pareto_front(ranked, lambda f: f.costs) if confirmation.has_costs else [best]
    return Estimates(
        best, len(seeds), search_best, means, difference, n_pairs, front, ranked, confirmation
    )


def leading(confirmation: Confirmation) -> list[Finalist]:
    """Return the finalists among which the best is chosen, without those of which a training has
    failed: all until each has its repeats on `seeds`, and with several objectives. Later, the
    baseline and the two others with the best means over `seeds`.
    """
    able = [f for f in confirmation.finalists if not f.failures]
    seeds = {*confirmation.seeds}
    if confirmation.has_costs or any(seeds - f.repeat_values.keys() for f in able):
        return able
    others = [f for f in able if not f.is_baseline]
    first = _ranked(others, seeds, direction=sign(confirmation.metric))[:2]
    return [f for f in able if f.is_baseline or f in first]


def _ranked(
    finalists: Sequence[Finalist], seeds: Collection[int], *, direction: int
) -> list[Finalist]:
    """Return the finalists by their mean over the seeds, best first."""

    def rank_key(finalist: Finalist) -> tuple[Any, ...]:
        values = finalist.repeat_values
        mean = round(statistics.mean(values[seed] for seed in seeds), DIGITS)
        costs = [-cost for cost in finalist.costs]
        return direction * mean, costs, direction * finalist.search_value, -finalist.trial

    return sorted(finalists, key=rank_key, reverse=True)


def difference_to_baseline(
    confirmation: Confirmation, finalist: Finalist
) -> tuple[Interval | None, int]:
    """Return `difference` and `n_pairs` of `Estimates`, for any finalist in the place of `best`."""
    baseline = confirmation.baseline
    if baseline is None or baseline.failures or finalist is baseline:
        return None, 0
    pairs = {
        f.trial: _differences(f, baseline)
        for f in confirmation.finalists
        if f.is_trained is finalist.is_trained and not f.is_baseline and not f.failures
    }
    of_finalist = [*pairs[finalist.trial].values()]
    if not of_finalist:
        return None, 0
    fit = _fit(pairs)
    n_pairs = len({seed for seed, _ in pairs[finalist.trial]})
    n_compared = sum(not f.is_baseline for f in confirmation.finalists)
    if confirmation.further_seeds:
        n_compared *= N_COMPARISONS
    variance = fit.variance / effective_number(len(of_finalist), confirmation.overlap)
    mean = statistics.mean(of_finalist)
    difference = _interval(mean, variance, fit.degrees, n_compared=n_compared)
    scale = statistics.mean(finalist.repeat_values.values())
    return replace(difference, scale=scale), n_pairs


def _differences(finalist: Finalist, baseline: Finalist) -> dict[tuple[int, int], float]:
    values, of_baseline = finalist.by_fold, baseline.by_fold
    return {key: values[key] - of_baseline[key] for key in values if key in of_baseline}


@dataclass(frozen=True)
class _TwoWayFit:
    """Values by trial and seed, fitted by an effect of the trial plus an effect of the seed.

    Attributes:
        variance: variance over the seeds of one trial's value, pooled over the trials; NaN where no
            trial has two seeds.
        degrees: degrees of freedom of `variance`, 0 where it is NaN. The trials share the seeds, so
            the effect of a seed is observed once and not once for each trial: the degrees are
            Satterthwaite's (1946) for the sum of the part of the seeds and that of the residuals.
        residual_variance: variance that neither the trial nor the seed explains, which is the
            variance of the differences of trials on the same seeds.
        means: mean of each trial over all seeds; where a trial has no value on a seed, the seed's
            effect in other trials takes its place.
    """

    variance: float
    degrees: float
    residual_variance: float
    means: dict[int, float]


def _fit(values: Mapping[int, Mapping[Any, float]]) -> _TwoWayFit:
    groups = {trial: group for trial, group in values.items() if group}
    seeds = sorted({seed for group in groups.values() for seed in group})
    rows = [row for row, group in enumerate(groups.values()) for _ in group]
    columns = [seeds.index(seed) for group in groups.values() for seed in group]
    # The groups have different numbers of seeds, so least squares takes the place of plain means.
    design = np.hstack([np.eye(len(groups))[rows], np.eye(len(seeds))[columns]])
    observed = np.array([value for group in groups.values() for value in group.values()])
    effects, _, rank, _ = np.linalg.lstsq(design, observed, rcond=None)
    over_all = effects[: len(groups)] + effects[len(groups) :].mean()
    means = {
        trial: round(float(mean), DIGITS) for trial, mean in zip(groups, over_all, strict=True)
    }
    within = len(observed) - len(groups)
    if not within:
        return _TwoWayFit(math.nan, 0.0, math.nan, means)
    squares = sum(float(np.var(list(group.values()))) * len(group) for group in groups.values())
    residual = float(((observed - design @ effects) ** 2).sum())
    free = len(observed) - int(rank)
    of_seeds, n_of_seeds = max(squares - residual, 0.0), within - free
    spread = of_seeds**2 / n_of_seeds if n_of_seeds else 0.0
    spread += residual**2 / free if free else 0.0
    # At least 1: where the values differ by rounding errors alone, the quotient can have any value.
    degrees = min(max(squares**2 / spread, 1.0), float(within)) if spread > 0 else float(within)
    return _TwoWayFit(squares / within, degrees, residual / free if free else math.nan, means)


def _corrected_means(
    finalists: Sequence[Finalist], *, bounds: tuple[float, float], overlap: float
) -> dict[int, Interval]:
    """Return c_i with its interval (formulas: `estimate`), cut to `bounds`, by trial."""
    others = [f.trial for f in finalists if not f.is_baseline]
    values = {f.trial: f.by_fold for f in finalists}
    fit = _fit(values)
    numbers = {trial: effective_number(len(of), overlap) for trial, of in values.items()}
    noise = {trial: fit.residual_variance / number for trial, number in numbers.items()}
    of_others = [fit.means[trial] for trial in others]
    center = statistics.mean(of_others) if others else math.nan
    spread = statistics.variance(of_others) if len(others) > 1 else math.nan
    between = math.nan
    if spread > 0:
        between = max(spread - statistics.mean([noise[trial] for trial in others]), 0.0)
    intervals = {}
    for finalist in finalists:
        mean = fit.means[finalist.trial]
        total = between + noise[finalist.trial]
        weight = between / total if total > 0 else 1.0
        corrected = mean if finalist.is_baseline else center + weight * (mean - center)
        whole = _interval(corrected, fit.variance / numbers[finalist.trial], fit.degrees)
        low, high = np.clip([whole.low, whole.high], *bounds).tolist()  # NaN stays NaN.
        intervals[finalist.trial] = Interval(corrected, low, high)
    return intervals


def _interval(
    mean: float, variance_of_mean: float, degrees: float, *, n_compared: int = 1
) -> Interval:
    """Return Dunnett's interval for the difference of one of `n_compared` finalists to a control,
    which for 1 is Student's interval of a mean; its bounds are NaN without degrees of freedom.
    """
    if not degrees:
        return Interval(mean, math.nan, math.nan)
    # Rounded down, so that a few values are computed, none of which is too small.
    critical_value = dunnett_critical_value(n_compared, math.floor(10 * degrees) / 10)
    half = critical_value * math.sqrt(variance_of_mean)
    return Interval(mean, mean - half, mean + half)
