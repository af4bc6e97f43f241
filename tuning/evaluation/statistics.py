"""Confidence intervals of means, shares and scores, and tests of two classifiers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

import numpy as np
from scipy import optimize, special, stats

from tuning.documents import OMIT_DEFAULT
from tuning.metrics import METRICS, metric_text, n_decimals
from tuning.targets.target import Array, Labels, Target

T = TypeVar("T")
LEVEL = 0.95
N_RESAMPLES = 1000
# Minimum share of the resamples in which a score must be defined, if it is equal in all of these. A
# class with a single text is in 63 % of the resamples.
MIN_DEFINED = 0.6
MAX_WEIGHTS = 4_000_000  # maximum number of weights in memory at a time: 32 MB


class Verdict(StrEnum):
    """What a difference of two models says about the first of them."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "not distinguishable"


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval, whose level is `LEVEL`. `scale`: for a
    difference, one of the two values. The difference is shown with the decimal places of that value
    (`n_decimals`).
    """

    value: float
    low: float
    high: float
    scale: float = field(default=1.0, compare=False, metadata=OMIT_DEFAULT)

    def __str__(self) -> str:
        return interval_text(self.value, self.low, self.high)

    @property
    def signed(self) -> str:
        """A difference as text: "+0.0123 [+0.0014, +0.0232]", without bounds that are NaN."""
        shown, n = as_shown(self), n_decimals(self.scale)
        bounds = f" [{shown.low:+.{n}f}, {shown.high:+.{n}f}]" if not math.isnan(shown.low) else ""
        return f"{shown.value:+.{n}f}{bounds}"

    def against(self, other: str, direction: int = 1) -> str:
        """Return a difference to another model as a clause: "better than the baseline (+0.0123
        [+0.0014, +0.0232])". `direction` is -1 if less is better.
        """
        if math.isnan(self.low):
            return f"against {other} {self.signed}"
        verdict = self.verdict(direction)
        word = "from" if verdict is Verdict.UNCLEAR else "than"
        return f"{verdict} {word} {other} ({self.signed})"

    def verdict(self, direction: int = 1) -> Verdict:
        """Return the verdict on a difference, of the numbers that sentences show, because the
        reader compares these. `direction` is -1 if less is better.
        """
        shown = as_shown(self)
        if shown.low > 0 or shown.high < 0:
            return Verdict.BETTER if direction * shown.value > 0 else Verdict.WORSE
        return Verdict.UNCLEAR


def interval_text(value: float | None, low: float | None, high: float | None) -> str:
    """Return a value and its interval as text: "0.8123 [0.7984, 0.8262]".

    The text has no bounds if they are None or NaN, and is empty if the value is None.
    """
    if value is None:
        return ""
    if low is None or high is None or math.isnan(low):
        return metric_text(value)
    n = n_decimals(value, low, high)
    return f"{value:.{n}f} [{low:.{n}f}, {high:.{n}f}]"


def value_text(value: float | None, low: float | None, high: float | None) -> str:
    """Return a value alone, with the decimal places that it has beside its interval."""
    return interval_text(value, low, high).partition(" ")[0]


def as_shown(difference: Interval) -> Interval:
    """Return a difference rounded to the digits that sentences show."""
    numbers, n = (difference.value, difference.low, difference.high), n_decimals(difference.scale)
    # -0.0 + 0.0 is 0.0, without which a sentence would show -0.0000.
    value, low, high = (round(number, n) + 0.0 for number in numbers)
    return replace(difference, value=value, low=low, high=high)


def mean_interval(values: Sequence[float], *, overlap: float = 0.0) -> Interval:
    """Return the mean of independent values, or of values on fresh splits (`effective_number`),
    with Student's t interval (`scipy.stats.ttest_1samp`). The bounds are NaN for a single value.

    For a paired comparison, `values` are the differences (the paired t-test).
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array) or not np.isfinite(array).all():
        raise ValueError(f"values must be one or more finite numbers; received {list(values)}.")
    mean = float(array.mean())
    if len(array) == 1:
        return Interval(mean, math.nan, math.nan)
    if np.ptp(array) == 0:  # SciPy warns of a loss of precision.
        return Interval(mean, mean, mean)
    bounds = stats.ttest_1samp(array, 0.0).confidence_interval(LEVEL)
    wider = math.sqrt(len(array) / effective_number(len(array), overlap))
    low, high = (mean + wider * (float(bound) - mean) for bound in (bounds.low, bounds.high))
    return Interval(mean, low, high)


def effective_number(n: int, overlap: float) -> float:
    """Return the number of independent values that tell as much as n values on fresh splits of the
    same rows, with `overlap` validation rows for each training row. The splits share training rows,
    so the variance of the mean is (1 / n + overlap) s² (Nadeau and Bengio, Machine Learning 2003).
    """
    return n / (1 + n * overlap)


def wilson_interval(n_right: int, n: int) -> Interval:
    """Return a share with the score interval of Wilson (1927), from `scipy.stats.binomtest`. The
    interval keeps its level also for small numbers, and for shares near 0 or 1.
    """
    bounds = stats.binomtest(n_right, n).proportion_ci(LEVEL, method="wilson")
    return Interval(n_right / n, float(bounds.low), float(bounds.high))


# A value takes about 25 ms, and a report needs the same value for several sentences and figures.
@lru_cache(maxsize=1000)
def dunnett_critical_value(n: int, degrees: float) -> float:
    """Return the two-sided critical value of n comparisons with one control, in standard errors of
    a difference (Dunnett, 1955).

    With probability `LEVEL`, the errors of all n differences are smaller than the critical value.
    The differences have equal variances, estimated with `degrees` degrees of freedom, and
    correlations of 1/2, as differences of means of equally many values from one control have. With
    larger correlations, such as with a control that varies more, the probability is larger.
    For n = 1 the critical value is a quantile of Student's t. The integral runs over the deviation
    of the control (Gauss-Hermite, 64 nodes) and over the estimate of the standard deviation (1,000
    quantiles of chi).
    """
    if n == 1:
        return float(stats.t.ppf((1 + LEVEL) / 2, degrees))
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    scales = np.sqrt(stats.chi2.ppf((np.arange(1000) + 0.5) / 1000, degrees) / degrees)[:, None]

    def probability(value: float) -> float:
        half = math.sqrt(2) * value * scales
        within = (special.ndtr(nodes + half) - special.ndtr(nodes - half)) ** n
        return float((within @ weights).mean() / weights.sum())

    # Bonferroni's value is never the smaller one.
    bonferroni = float(stats.t.ppf(1 - (1 - LEVEL) / (2 * n), degrees))
    return float(
        optimize.brentq(lambda value: probability(value) - LEVEL, 1.0, 1.1 * bonferroni, xtol=1e-6)
    )


def score_intervals(
    target: Target,
    labels: Labels,
    predictions: Array,
    *,
    seed: int,
    codes: Labels | None = None,
    names: Collection[str] | None = None,
) -> dict[str, Interval]:
    """Return each score of `Target.formulas` with its interval: the percentile bootstrap
    over observations (Efron and Tibshirani, 1993), cut to the values that the metric can have.

    A metric without an interval (`Metric.has_interval`) has no bounds.

    Args:
        labels: (n,).
        predictions: (n, width).
        seed: seed of the resamples.
        codes: the number of each observation, int64 (n,): a distinct text, or a group of texts.
            None if each text is one.
        names: the scores, by default all.
    """
    n = len(labels)

    def by_name(weights: Array) -> dict[str, Array]:
        formulas = target.formulas(labels, predictions, weights)
        return {name: formulas[name]() for name in names or formulas}

    def scores(weights: Array) -> Array:
        return np.stack([*by_name(weights).values()])

    values = by_name(np.ones((1, n)))
    drawn = resampled(scores, n, codes, seed=seed)
    bounds = {}
    for name, each in zip(values, drawn, strict=True):
        # F1 of a class is a share, as most metrics are.
        limits = METRICS[name].bounds if name in METRICS else (0.0, 1.0)
        low, high = np.clip(bootstrap_bounds(each), *limits).tolist()  # NaN stays NaN.
        bounds[name] = low, high
    without = [metric.name for metric in target.metrics if not metric.has_interval]
    bounds |= dict.fromkeys(without, (math.nan, math.nan))
    return {name: Interval(float(value[0]), *bounds[name]) for name, value in values.items()}


def score_difference(
    name: str,
    target: Target,
    labels: Labels,
    first: Array,
    second: Array,
    *,
    seed: int,
    codes: Labels | None = None,
) -> Interval:
    """Return a score of the first classifier minus that of the second on the same texts, with the
    interval of the paired percentile bootstrap. `name` is a key of `Target.formulas`; the
    other arguments are those of `score_intervals`.
    """

    def change(weights: Array) -> Array:
        ours, theirs = (target.formulas(labels, p, weights)[name]() for p in (first, second))
        return ours - theirs

    drawn, once = resampled(change, len(labels), codes, seed=seed), np.ones((1, len(labels)))
    scale = float(target.formulas(labels, first, once)[name]()[0])
    return Interval(float(change(once)[0]), *bootstrap_bounds(drawn), scale)


def accuracy_difference(
    target: Target,
    labels: Labels,
    first: Array,
    second: Array,
    *,
    seed: int,
    codes: Labels | None = None,
) -> Interval:
    """Return the accuracy of the first classifier minus that of the second on the same texts, with
    the interval of the paired percentile bootstrap. `second` may be (n_models, n, width), of
    several classifiers whose mean accuracy is subtracted; the other arguments are those of
    `score_intervals`.
    """
    seconds = second.reshape(-1, *first.shape)
    is_right, others_right = (target.is_right(labels, p) for p in (first, seconds))
    change = is_right - others_right.mean(axis=0)
    drawn = resampled(lambda w: w @ change / w.sum(axis=1), len(labels), codes, seed=seed)
    return Interval(float(change.mean()), *bootstrap_bounds(drawn))


def resampled(
    scores: Callable[[Array], Array], n: int, codes: Labels | None, *, seed: int
) -> Array:
    """Return the bootstrap distribution of the scores of n texts, (…, `N_RESAMPLES`). `scores` gets
    the weights of the texts in several resamples, (n_weightings, n).

    The distribution of few observations is too narrow, so it is stretched about the scores by
    √(m / (m - 1)) t / z, with the quantiles of Student's t with m - 1 degrees of freedom and of the
    normal distribution. m = n² / Σ n_i² is the number of observations with n_i texts, or the number
    of equally large ones that tell as much (Kish, Survey Sampling, 1965); at least 2.
    """
    # `scipy.stats.bootstrap` is not used: its interval is NaN as soon as the score of one resample
    # is, and its observations are not weights. The copies of a text, or the texts of a group, are
    # drawn together, because they are one observation: single texts would make the intervals too
    # narrow.
    codes = np.unique(np.arange(n) if codes is None else codes, return_inverse=True)[1]
    n_drawn, rng = int(codes.max()) + 1, np.random.default_rng(seed)
    batch = max(MAX_WEIGHTS // n, 1)

    def of_batch(n_resamples: int) -> Array:
        drawn = rng.integers(0, n_drawn, (n_resamples, n_drawn))
        counts = [np.bincount(resample, minlength=n_drawn) for resample in drawn]
        return scores(np.array(counts, dtype=np.float64)[:, codes])

    sizes = [min(batch, N_RESAMPLES - done) for done in range(0, N_RESAMPLES, batch)]
    drawn = np.concatenate([of_batch(size) for size in sizes], axis=-1)
    m = max(n**2 / float((np.bincount(codes) ** 2).sum()), 2.0)
    quantiles = stats.t.ppf((1 + LEVEL) / 2, m - 1), stats.norm.ppf((1 + LEVEL) / 2)
    stretch = math.sqrt(m / (m - 1)) * float(quantiles[0] / quantiles[1])
    once = scores(np.ones((1, n)))
    return np.asarray(once + stretch * (drawn - once))


def bootstrap_bounds(values: Array) -> tuple[float, float]:
    """Return the bounds of a percentile bootstrap's interval of level `LEVEL`, from the resampled
    values (n_resamples,).
    """
    # A score may be undefined in a resample in which a class is missing. With two groups of one
    # class each, half of the resamples have both groups, and say nothing about other groups.
    known = values[np.isfinite(values)]
    if not len(known) or (len(known) < MIN_DEFINED * len(values) and np.ptp(known) < 1e-12):
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mcnemar(
    target: Target, labels: Labels, first: Array, second: Array, *, codes: Labels | None = None
) -> float:
    """Return the p-value of McNemar's exact test (1947) of two classifiers, which is 1 if no text
    is labeled correctly by one of them alone. With `codes`, the number of each distinct text, the
    first copy of each text counts.
    """
    rows = slice(None) if codes is None else np.unique(codes, return_index=True)[1]
    is_right, other_right = (target.is_right(labels, p)[rows] for p in (first, second))
    only_first = int((is_right & ~other_right).sum())
    only_second = int((other_right & ~is_right).sum())
    n = only_first + only_second
    return float(stats.binomtest(only_first, n, 0.5).pvalue) if n else 1.0


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
