"""Intervals of scores by the bootstrap over texts (Efron and Tibshirani, 1993)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from tuning.evaluation.metrics import Array, Labels, is_correct, weighted_scores
from tuning.evaluation.statistics import LEVEL, Interval
from tuning.metrics import METRICS

N_RESAMPLES = 1000
MAX_WEIGHTS = 4_000_000  # maximum number of weights in memory at a time: 32 MB


def score_intervals(
    labels: Labels,
    probabilities: Array,
    *,
    seed: int,
    codes: Labels | None = None,
    n_resamples: int = N_RESAMPLES,
) -> dict[str, Interval]:
    """Return each score of `weighted_scores` with its interval: the percentile bootstrap over texts
    (Efron and Tibshirani, 1993).

    If a class is missing in a resample, a score may be undefined there; its interval leaves the
    resample out. A metric without an interval (`Metric.has_interval`) has no bounds.

    Args:
        labels: int64 (n,).
        probabilities: (n, n_classes).
        seed: seed of the resamples.
        codes: the number of each distinct text, int64 (n,); None if all texts are distinct. The
            copies of a text are drawn together, because they are one observation.
        n_resamples: number of resamples.
    """
    n = len(labels)

    def scores(weights: Array) -> Array:
        return np.stack([*weighted_scores(labels, probabilities, weights).values()])

    values = weighted_scores(labels, probabilities, np.ones((1, n)))
    resampled = _resampled(
        scores, np.arange(n) if codes is None else codes, seed=seed, n_resamples=n_resamples
    )
    bounds = {
        name: bootstrap_bounds(of_score) for name, of_score in zip(values, resampled, strict=True)
    }
    without = [metric.name for metric in METRICS.values() if not metric.has_interval]
    bounds |= dict.fromkeys(without, (math.nan, math.nan))
    return {name: Interval(float(value[0]), *bounds[name]) for name, value in values.items()}


def score_difference(
    name: str,
    labels: Labels,
    first: Array,
    second: Array,
    *,
    seed: int,
    codes: Labels | None = None,
    n_resamples: int = N_RESAMPLES,
) -> Interval:
    """Return a score of the first classifier minus that of the second on the same texts, with the
    interval of the paired percentile bootstrap.

    Args:
        name: a key of `weighted_scores`, such as "balanced_accuracy".
        labels: int64 (n,).
        first: (n, n_classes), the probabilities of the first classifier.
        second: (n, n_classes), the probabilities of the second classifier.
        seed: seed of the resamples.
        codes: the number of each distinct text, as for `score_intervals`.
        n_resamples: number of resamples.
    """

    def change(weights: Array) -> Array:
        ours, theirs = (weighted_scores(labels, p, weights)[name] for p in (first, second))
        return ours - theirs

    codes = np.arange(len(labels)) if codes is None else codes
    resampled = _resampled(change, codes, seed=seed, n_resamples=n_resamples)
    return Interval(float(change(np.ones((1, len(labels))))[0]), *bootstrap_bounds(resampled))


def accuracy_difference(
    labels: Labels,
    first: Array,
    second: Array,
    *,
    seed: int,
    codes: Labels | None = None,
    n_resamples: int = N_RESAMPLES,
) -> Interval:
    """Return the accuracy of the first classifier minus the accuracy of the second on the same
    texts, with the interval of the paired percentile bootstrap.

    Args:
        labels: int64 (n,).
        first: (n, n_classes), the probabilities of the first classifier.
        second: (n, n_classes), the probabilities of the second classifier; or (n_models, n,
            n_classes), of several classifiers whose mean accuracy is subtracted.
        seed: seed of the resamples.
        codes: the number of each distinct text, as for `score_intervals`.
        n_resamples: number of resamples.
    """
    seconds = second.reshape(-1, *first.shape)
    change = is_correct(labels, first) - is_correct(labels, seconds).mean(axis=0)
    codes = np.arange(len(labels)) if codes is None else codes
    sums, sizes = np.bincount(codes, weights=change), np.bincount(codes)

    def mean(drawn: npt.NDArray[np.int64], axis: int) -> Array:
        resampled: Array = sums[drawn].sum(axis) / sizes[drawn].sum(axis)
        return resampled

    batch = max(MAX_WEIGHTS // len(sums), 1)
    resampled = _bootstrap(len(sums), mean, seed=seed, n_resamples=n_resamples, batch=batch)
    return Interval(float(change.mean()), *bootstrap_bounds(resampled))


def _resampled(
    scores: Callable[[Array], Array], codes: Labels, *, seed: int, n_resamples: int
) -> Array:
    """Return the bootstrap distribution of scores, (…, n_resamples). `scores` gets the weights of
    the texts in several resamples, (n, n_texts). `codes`: as for `score_intervals`.
    """
    n_distinct = int(codes.max()) + 1

    def of_resamples(drawn: npt.NDArray[np.int64], axis: int) -> Array:
        counts = [np.bincount(resample, minlength=n_distinct) for resample in np.atleast_2d(drawn)]
        return scores(np.array(counts, dtype=np.float64)[:, codes])

    batch = max(MAX_WEIGHTS // len(codes), 1)
    return _bootstrap(n_distinct, of_resamples, seed=seed, n_resamples=n_resamples, batch=batch)


def _bootstrap(
    n: int, statistic: Callable[..., Array], *, seed: int, n_resamples: int, batch: int
) -> Array:
    """Return the bootstrap distribution of a statistic of n observations, (…, n_resamples). The
    statistic gets the numbers of the observations in `batch` resamples at a time, (batch, n).

    SciPy's own interval is not used: it is NaN, with a warning, as soon as the statistic of one
    resample is NaN.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(n),),
            statistic,
            n_resamples=n_resamples,
            batch=batch,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    distribution: Array = result.bootstrap_distribution
    return distribution


def bootstrap_bounds(values: Array) -> tuple[float, float]:
    """Return the bounds of a percentile bootstrap's interval of level `LEVEL`, from the resampled
    values (n_resamples,). Values that are not finite are left out.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
