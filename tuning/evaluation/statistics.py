"""Intervals and paired tests of trainings and of scores; knows no Keras and no Optuna."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from tuning.evaluation.metrics import Array, Labels, weighted_scores

T = TypeVar("T")
LEVEL = 0.95
N_RESAMPLES = 1000
MAX_WEIGHTS = 4_000_000  # of a part of the resamples: 32 MB


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval, of level 0.95 where nothing else is said."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return interval_text(self.value, self.low, self.high)

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def interval_text(value: float | None, low: float | None, high: float | None) -> str:
    """A value with its interval as it is shown; without bounds where they are not defined (None or
    NaN), empty without a value.
    """
    if value is None:
        return ""
    return (
        f"{value:.4f}"
        if low is None or high is None or math.isnan(low)
        else f"{value:.4f} [{low:.4f}, {high:.4f}]"
    )


def mean_interval(values: Sequence[float], *, level: float = LEVEL) -> Interval:
    """The mean of independent values with Student's t interval (`scipy.stats.ttest_1samp`); of one
    value, NaN bounds.

    For a paired comparison, `values` are the differences (the paired t-test).

    Raises:
        ValueError: no values, or one that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array) or not np.isfinite(array).all():
        raise ValueError(f"values must be finite numbers, one at least; received {list(values)}.")
    mean = float(array.mean())
    if len(array) == 1:
        return Interval(mean, math.nan, math.nan)
    if np.ptp(array) == 0:
        return Interval(mean, mean, mean)
    bounds = stats.ttest_1samp(array, 0.0).confidence_interval(level)
    return Interval(mean, float(bounds.low), float(bounds.high))


@lru_cache(maxsize=1000)
def dunnett_critical_value(n: int, degrees: float, *, level: float = LEVEL) -> float:
    """The two-sided critical value of n comparisons with one control, in standard errors of a
    difference (Dunnett, 1955).

    All n differences are off by less with the probability `level`. The differences have equal
    variances, estimated with `degrees` of freedom, and correlations of 1/2, as those of means of
    equally many values to the same control. With larger correlations, such as those of a control
    that varies more, the probability is larger. For one difference it is the quantile of Student's
    t. The integral is over the control's own deviation (Gauss-Hermite, 64 nodes) and over the
    estimate of the standard deviation (1,000 quantiles of chi).
    """
    if n == 1:
        return float(stats.t.ppf((1 + level) / 2, degrees))
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    scales = np.sqrt(stats.chi2.ppf((np.arange(1000) + 0.5) / 1000, degrees) / degrees)[:, None]

    def probability(value: float) -> float:
        half = math.sqrt(2) * value * scales
        inside = (special.ndtr(nodes + half) - special.ndtr(nodes - half)) ** n
        return float((inside @ weights).mean() / weights.sum())

    most = float(stats.t.ppf(1 - (1 - level) / (2 * n), degrees))  # Bonferroni's
    return float(
        optimize.brentq(lambda value: probability(value) - level, 1.0, 1.1 * most, xtol=1e-6)
    )


def score_intervals(
    labels: Labels, probabilities: Array, *, seed: int, n_resamples: int = N_RESAMPLES
) -> dict[str, Interval]:
    """Every score of `weighted_scores` with its interval: the percentile bootstrap over texts
    (Efron and Tibshirani, 1993).

    Resamples in which a score is not defined, because a class is missing, are left out of that
    score's interval.
    """
    found = {
        name: float(value[0])
        for name, value in weighted_scores(labels, probabilities, np.ones((1, len(labels)))).items()
    }
    parts = [
        weighted_scores(labels, probabilities, weights)
        for weights in _resamples(len(labels), seed=seed, n_resamples=n_resamples)
    ]
    resampled = {name: np.concatenate([part[name] for part in parts]) for name in found}
    return {
        name: Interval(value, *bootstrap_bounds(resampled[name])) for name, value in found.items()
    }


def accuracy_difference(
    labels: Labels, first: Array, second: Array, *, seed: int, n_resamples: int = N_RESAMPLES
) -> Interval:
    """The first's accuracy minus the second's on the same texts, with the interval of the paired
    percentile bootstrap.
    """
    change = _correct(labels, first).astype(np.float64) - _correct(labels, second)
    n = len(labels)
    resampled = [
        weights @ change / n for weights in _resamples(n, seed=seed, n_resamples=n_resamples)
    ]
    return Interval(float(change.mean()), *bootstrap_bounds(np.concatenate(resampled)))


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """How often only one of two classifiers is right, and the p-value of that."""

    only_first_right: int
    only_second_right: int
    p_value: float


def mcnemar(labels: Labels, first: Array, second: Array) -> McNemar:
    """McNemar's exact test (1947) of two classifiers on the same texts: how often only one of them
    is right, and the p-value.

    The p-value is that of `scipy.stats.binomtest` over the texts on which they disagree; 1 where
    there are none.
    """
    right, other = _correct(labels, first), _correct(labels, second)
    only_first, only_second = int((right & ~other).sum()), int((other & ~right).sum())
    n = only_first + only_second
    p = float(stats.binomtest(only_first, n, 0.5).pvalue) if n else 1.0
    return McNemar(only_first_right=only_first, only_second_right=only_second, p_value=p)


def _correct(labels: Labels, probabilities: Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = probabilities.argmax(axis=1) == labels
    return found


def _resamples(n: int, *, seed: int, n_resamples: int) -> Iterator[Array]:
    """How often each of n texts is drawn in a resample of n, float64 arrays (some resamples, n)."""
    rng = np.random.default_rng(seed)
    size = max(MAX_WEIGHTS // max(n, 1), 1)
    for start in range(0, n_resamples, size):
        draws = [
            np.bincount(rng.integers(0, n, n), minlength=n)
            for _ in range(min(size, n_resamples - start))
        ]
        yield np.array(draws, dtype=np.float64)


def bootstrap_bounds(values: Array) -> tuple[float, float]:
    """The interval of a percentile bootstrap out of its resampled values; those that are not finite
    are left out.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def pareto_front(ordered: Iterable[T], costs: Callable[[T], Sequence[float]]) -> list[T]:
    """Of things in order, the best first, those that none before them is as cheap as in
    every cost.
    """
    found: list[T] = []
    for one in ordered:
        if not any(
            all(a <= b for a, b in zip(costs(other), costs(one), strict=True)) for other in found
        ):
            found.append(one)
    return found
