"""Confidence intervals of means and shares, and tests of two classifiers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from scipy import optimize, special, stats

from tuning.evaluation.metrics import Array, Labels, is_correct

T = TypeVar("T")
LEVEL = 0.95
DIGITS = 4  # Number of decimal digits of the values in sentences.


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval, whose level is `LEVEL` by default."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return interval_text(self.value, self.low, self.high)

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low > 0 or self.high < 0


def interval_text(value: float | None, low: float | None, high: float | None) -> str:
    """Return a value and its interval as text: "0.8123 [0.7984, 0.8262]".

    The text has no bounds if they are None or NaN, and is empty if the value is None.
    """
    if value is None:
        return ""
    return (
        f"{value:.4f}"
        if low is None or high is None or math.isnan(low)
        else f"{value:.4f} [{low:.4f}, {high:.4f}]"
    )


def as_shown(interval: Interval) -> Interval:
    """Return an interval rounded to the digits that sentences show, with 0.0 in place of -0.0.

    A sentence compares rounded numbers, because the reader compares the numbers that are shown.
    """
    numbers = (interval.value, interval.low, interval.high)
    return Interval(*(round(number, DIGITS) + 0.0 for number in numbers))


def mean_interval(values: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Return the mean of independent values with Student's t interval (`scipy.stats.ttest_1samp`).
    The bounds are NaN for a single value.

    For a paired comparison, `values` are the differences (the paired t-test).

    Raises:
        ValueError: `values` is empty or contains a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array) or not np.isfinite(array).all():
        raise ValueError(f"values must be one or more finite numbers; received {list(values)}.")
    mean = float(array.mean())
    if len(array) == 1:
        return Interval(mean, math.nan, math.nan)
    if np.ptp(array) == 0:
        return Interval(mean, mean, mean)
    bounds = stats.ttest_1samp(array, 0.0).confidence_interval(level)
    return Interval(mean, float(bounds.low), float(bounds.high))


def wilson_interval(n_right: int, n: int) -> Interval:
    """Return a share with the score interval of Wilson (1927), from `scipy.stats.binomtest`. The
    interval keeps its level also for small numbers, and for shares near 0 or 1.

    Raises:
        ValueError: `n` is 0, or `n_right` does not lie in 0..n.
    """
    bounds = stats.binomtest(n_right, n).proportion_ci(LEVEL, method="wilson")
    return Interval(n_right / n, float(bounds.low), float(bounds.high))


@lru_cache(maxsize=1000)
def dunnett_critical_value(n: int, degrees: float, *, level: float = LEVEL) -> float:
    """Return the two-sided critical value of n comparisons with one control, in standard errors of
    a difference (Dunnett, 1955).

    With probability `level`, the errors of all n differences are smaller than the critical value.
    The differences have equal variances, estimated with `degrees` degrees of freedom, and
    correlations of 1/2, as differences of means of equally many values from one control have. With
    larger correlations, such as with a control that varies more, the probability is larger.
    For n = 1 the critical value is a quantile of Student's t. The integral runs over the deviation
    of the control (Gauss-Hermite, 64 nodes) and over the estimate of the standard deviation (1,000
    quantiles of chi).
    """
    if n == 1:
        return float(stats.t.ppf((1 + level) / 2, degrees))
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    scales = np.sqrt(stats.chi2.ppf((np.arange(1000) + 0.5) / 1000, degrees) / degrees)[:, None]

    def probability(value: float) -> float:
        half = math.sqrt(2) * value * scales
        within = (special.ndtr(nodes + half) - special.ndtr(nodes - half)) ** n
        return float((within @ weights).mean() / weights.sum())

    bonferroni = float(stats.t.ppf(1 - (1 - level) / (2 * n), degrees))
    return float(
        optimize.brentq(lambda value: probability(value) - level, 1.0, 1.1 * bonferroni, xtol=1e-6)
    )


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """McNemar's test of two classifiers on the same texts.

    Attributes:
        only_first_right: number of texts that only the first classifier labels correctly.
        only_second_right: number of texts that only the second classifier labels correctly.
        p_value: the p-value of `scipy.stats.binomtest` over these texts, or 1 without such texts.
    """

    only_first_right: int
    only_second_right: int
    p_value: float


def mcnemar(labels: Labels, first: Array, second: Array, *, codes: Labels | None = None) -> McNemar:
    """Return McNemar's exact test (1947) of two classifiers on the same texts. With `codes`, as for
    `score_intervals`, the first copy of each text counts.
    """
    rows = slice(None) if codes is None else np.unique(codes, return_index=True)[1]
    is_right, other_right = is_correct(labels, first)[rows], is_correct(labels, second)[rows]
    only_first = int((is_right & ~other_right).sum())
    only_second = int((other_right & ~is_right).sum())
    n = only_first + only_second
    p = float(stats.binomtest(only_first, n, 0.5).pvalue) if n else 1.0
    return McNemar(only_first_right=only_first, only_second_right=only_second, p_value=p)


def pareto_front(ordered: Iterable[T], costs: Callable[[T], Sequence[float]]) -> list[T]:
    """Return the items that no better item equals or undercuts in every cost. `ordered` begins with
    the best item.
    """
    front: list[T] = []
    for item in ordered:
        if not any(
            all(a <= b for a, b in zip(costs(better), costs(item), strict=True)) for better in front
        ):
            front.append(item)
    return front
