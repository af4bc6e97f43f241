"""The accuracy of a model on parts of a split, or its error for numbers, and how well its
probabilities are calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tuning.evaluation.predictions import Predictions
from tuning.evaluation.statistics import (
    Interval,
    mean_interval,
    score_intervals,
    wilson_interval,
)
from tuning.targets.class_scores import calibration_bins
from tuning.targets.number import rounded_text
from tuning.targets.target import Labels

N_BINS = 5  # quantiles of the number of tokens, or of the labels: a fifth of the texts in each
Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Slice:
    """The accuracy, or another `measure`, on a part of the texts; NaN if the part has no text."""

    name: str
    n_texts: int
    accuracy: Interval
    measure: str = "accuracy"


@dataclass(frozen=True)
class CalibrationBin:
    """The texts whose confidence, the probability of the predicted class, lies in a bin: their mean
    confidence and their accuracy.
    """

    confidence: float
    n_texts: int
    accuracy: Interval


def accuracy_on(predictions: Predictions, rows: Rows | None = None) -> Interval:
    """Return the accuracy on some texts, by default on all, with its interval; NaN for no text. For
    numbers it is the MAE, with Student's interval.
    """
    rows = np.ones(len(predictions.labels), np.bool_) if rows is None else rows
    if not rows.any():
        return Interval(math.nan, math.nan, math.nan)
    if not predictions.target.has_decisions:
        gaps = predictions.probabilities[:, 0] - predictions.labels
        mae = mean_interval(np.abs(gaps[rows]).tolist())
        # Student's interval of few texts may begin below 0, which no error is.
        return replace(mae, low=max(mae.low, 0.0))
    return wilson_interval(int(predictions.is_right[rows].sum()), int(rows.sum()))


def slices_of(predictions: Predictions) -> list[tuple[str, list[Slice]]]:
    """Return the parts by class or label, by text length and by the column, each with a title."""
    labels, target, column = predictions.labels, predictions.target, predictions.column
    if not target.has_decisions:
        parts = [("label", _by_quantile(predictions, labels, rounded_text))]
    elif target.is_exclusive:
        parts = [("class", _slices(predictions, target.names, labels))]
    else:
        parts = [("label", _f1_by_label(predictions))]
    lengths = _by_quantile(predictions, predictions.lengths, "{:,}".format, unit=" tokens")
    parts.append(("text length", lengths))
    if column is not None:
        parts.append((column.name, _slices(predictions, column.groups, column.codes)))
    titles = [f"{slices[0].measure} by {part}" for part, slices in parts]
    return [
        (f"{title[0].upper()}{title[1:]}", [part for part in slices if part.n_texts])
        for title, (_, slices) in zip(titles, parts, strict=True)
    ]


def _f1_by_label(predictions: Predictions) -> list[Slice]:
    labels, target = predictions.labels, predictions.target
    names = [f"f1_{number}" for number in range(target.width)]
    scores = score_intervals(target, labels, predictions.probabilities, seed=0, names=names)
    parts = zip(target.names, target.counts(labels), scores.values(), strict=True)
    return [Slice(*part, measure="F1") for part in parts]


def _by_quantile(
    predictions: Predictions, values: Labels, shown: Callable[[Any], str], *, unit: str = ""
) -> list[Slice]:
    shares = np.arange(1, N_BINS) / N_BINS
    inner = np.quantile(values, shares, method="inverted_cdf")
    # Bounds are equal where many texts have the same value. Their bins are one bin.
    bounds = np.unique(np.append(inner, values.max()))
    codes = np.searchsorted(bounds, values)
    names = []
    for code in range(len(bounds)):
        of_bin = values[codes == code]
        low, high = (shown(end.item()) for end in (of_bin.min(), of_bin.max()))
        names.append(f"{low}{unit}" if low == high else f"{low} to {high}{unit}")
    return _slices(predictions, names, codes)


def calibration(predictions: Predictions) -> list[CalibrationBin]:
    confidence = np.array(predictions.target.confidence(predictions.probabilities))
    codes = calibration_bins(confidence)
    bins = []
    for code in np.unique(codes):
        rows = codes == code
        mean = float(confidence[rows].mean())
        bins.append(CalibrationBin(mean, int(rows.sum()), accuracy_on(predictions, rows)))
    return bins


def calibration_error(predictions: Predictions) -> float:
    return predictions.target.value(
        predictions.labels, predictions.probabilities, metric="val_expected_calibration_error"
    )


def _slices(
    predictions: Predictions, names: Sequence[str], codes: npt.NDArray[np.int64]
) -> list[Slice]:
    parts = [(name, codes == code) for code, name in enumerate(names)]
    measure = "accuracy" if predictions.target.has_decisions else "MAE"
    return [
        Slice(name, int(rows.sum()), accuracy_on(predictions, rows), measure)
        for name, rows in parts
    ]
