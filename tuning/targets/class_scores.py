"""The metrics of class probabilities by their formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tuning.targets.target import Array, Labels

CONSTRAINT = 0.9  # the precision, or the recall, of the metrics with a constraint
N_CALIBRATION_BINS = 15  # as Guo et al. (ICML 2017)


@dataclass(frozen=True)
class WeightedTexts:
    """The labels, probabilities and predicted classes of texts, for many weightings of the texts at
    once (`Target.formulas`).
    """

    labels: Labels
    probabilities: Array
    predicted: Labels
    weights: Array

    @property
    def n_classes(self) -> int:
        """Number of classes, of which some may have no text."""
        return int(self.probabilities.shape[1])

    @cached_property
    def total(self) -> Array:
        """The weight of all texts, (n_weightings,)."""
        total: Array = self.weights.sum(axis=1)
        return total

    @cached_property
    def confusion(self) -> Array:
        """The weight of the texts by true and predicted class, (n_weightings, k, k)."""
        k = self.n_classes
        cells = self.labels * k + self.predicted
        counts = [np.bincount(cells, weights=row, minlength=k * k) for row in self.weights]
        return np.reshape(counts, (-1, k, k))

    @cached_property
    def right(self) -> Array:
        """The weight of the correctly predicted texts of each class, (n_weightings, n_classes)."""
        right: Array = np.diagonal(self.confusion, axis1=1, axis2=2)
        return right

    @cached_property
    def normalized(self) -> Array:
        """Probabilities whose sum is 1 and of which none is 0, (n, n_classes).

        Probabilities in float32 sum to 1 only within 1e-7, and Keras clips at 1e-7 too.
        """
        clipped = np.clip(self.probabilities, 1e-7, 1 - 1e-7)
        normalized: Array = clipped / clipped.sum(axis=1, keepdims=True)
        return normalized

    @cached_property
    def f1_by_class(self) -> Array:
        """F1 of each class, (n_weightings, n_classes); NaN for a class without texts and
        predictions.
        """
        of_class, predicted = self.confusion.sum(axis=2), self.confusion.sum(axis=1)
        with np.errstate(invalid="ignore"):
            f1: Array = 2 * self.right / (of_class + predicted)
        return f1

    @cached_property
    def precision_and_recall(self) -> tuple[Array, Array]:
        """Precision and recall of class 1 at each distinct probability as the threshold, from the
        highest, (n_weightings, n_thresholds); NaN where no text has class 1, or is above. Without a
        text of class 0, every precision would be 1, and is NaN.
        """
        parts = _by_value(self.labels == 1, self.probabilities[:, 1], self.weights)
        right, wrong = (np.cumsum(part[:, ::-1], axis=1) for part in parts)
        with np.errstate(invalid="ignore"):
            precision = np.where(wrong[:, -1:] > 0, right / (right + wrong), np.nan)
            return precision, right / right[:, -1:]


def _accuracy(texts: WeightedTexts) -> Array:
    accuracy: Array = texts.right.sum(axis=1) / texts.total
    return accuracy


def _balanced_accuracy(texts: WeightedTexts) -> Array:
    of_class = texts.confusion.sum(axis=2)
    # A resample may lack a class, whose recall is NaN.
    with np.errstate(invalid="ignore"):
        mean: Array = np.nanmean(texts.right / of_class, axis=1)
    return mean


def _f1(texts: WeightedTexts) -> Array:
    """Return F1 of class 1 for two classes, which is 0 without texts and predictions of class 1;
    else the macro average.
    """
    if texts.n_classes > 2:
        return _macro_f1(texts)
    f1: Array = np.nan_to_num(texts.f1_by_class[:, 1])
    return f1


def _macro_f1(texts: WeightedTexts) -> Array:
    """Return the mean F1 of the classes that have texts or predictions, as scikit-learn does."""
    mean: Array = np.nanmean(texts.f1_by_class, axis=1)
    return mean


def _auc(texts: WeightedTexts) -> Array:
    """Return the area under the ROC curve of class 1 for two classes, else the mean over the
    classes, each against the rest; NaN if a class has no text.
    """
    if texts.n_classes == 2:
        return area_under_roc(texts.labels == 1, texts.probabilities[:, 1], texts.weights)
    # Not `normalized`: probabilities below 1e-7 are equal there, and equal values count half.
    sums = np.maximum(texts.probabilities.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    values = texts.probabilities / sums
    areas: list[Array] = [
        area_under_roc(texts.labels == number, values[:, number], texts.weights)
        for number in range(texts.n_classes)
    ]
    mean: Array = np.mean(areas, axis=0)
    return mean


def area_under_roc(truth: npt.NDArray[np.bool_], values: Array, weights: Array) -> Array:
    """Return the area under the ROC curve for each row of weights: the share of pairs of a positive
    and a negative text whose values have the right order. Ties count half (Mann and Whitney, 1947).
    """
    positive, negative = _by_value(truth, values, weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Array = (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return area


def _by_value(truth: npt.NDArray[np.bool_], values: Array, weights: Array) -> tuple[Array, Array]:
    """Return the weights of the positive and of the negative texts of each distinct value, from the
    lowest, (n_weightings, n_values).
    """
    order = np.argsort(values, kind="stable")
    _, groups = np.unique(values[order], return_inverse=True)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    ordered, truth = weights[:, order], truth[order]
    positive = np.add.reduceat(ordered * truth, starts, axis=1)
    return positive, np.add.reduceat(ordered * ~truth, starts, axis=1)


def _best_where(constrained: Array, values: Array) -> Array:
    """Return the largest value at the thresholds where the other metric is `CONSTRAINT` or more, 0
    where none is, and NaN without texts of both classes.
    """
    best: Array = np.where(constrained >= CONSTRAINT, values, 0.0).max(axis=1)
    return np.where(np.isnan(constrained + values).all(axis=1), np.nan, best)


def _loss(texts: WeightedTexts) -> Array:
    losses = -np.log(texts.normalized[np.arange(len(texts.labels)), texts.labels])
    mean: Array = texts.weights @ losses / texts.total
    return mean


def _brier(texts: WeightedTexts) -> Array:
    """Return the mean square error of the probability of class 1 for two classes; else the sum of
    that of each class (Brier, Monthly Weather Review 1950).
    """
    truth = np.eye(texts.n_classes)[texts.labels]
    errors = (texts.probabilities - truth) ** 2
    of_text = errors[:, 1] if texts.n_classes == 2 else errors.sum(axis=1)
    mean: Array = texts.weights @ of_text / texts.total
    return mean


def _calibration_error(texts: WeightedTexts) -> Array:
    """Return the expected calibration error (Guo et al., ICML 2017): the mean distance of
    confidence and accuracy in bins of equal width, weighted by the bins' shares of texts.
    """
    confidence = texts.probabilities[np.arange(len(texts.labels)), texts.predicted]
    return calibration_error(confidence, texts.predicted == texts.labels, texts.weights)


def calibration_error(confidence: Array, is_right: npt.NDArray[np.bool_], weights: Array) -> Array:
    gaps = confidence - is_right
    in_bin = np.eye(N_CALIBRATION_BINS)[calibration_bins(confidence)]
    error: Array = np.abs(weights @ (in_bin * gaps[:, None])).sum(axis=1) / weights.sum(axis=1)
    return error


def calibration_bins(confidence: Array) -> Labels:
    """Return the bin of each confidence, int64 (n,), of `N_CALIBRATION_BINS` bins of equal width
    over 0 to 1. A bin contains its upper bound.
    """
    bins: Labels = np.ceil(confidence * N_CALIBRATION_BINS).astype(np.int64) - 1
    return bins.clip(0, N_CALIBRATION_BINS - 1)


# For each metric its value for each weighting, (n_weightings,), NaN where it is undefined.
FORMULAS: dict[str, Callable[[WeightedTexts], Array]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "f1_macro": _macro_f1,
    "auc": _auc,
    "recall_at_precision_0.9": lambda texts: _best_where(*texts.precision_and_recall),
    "precision_at_recall_0.9": lambda texts: _best_where(*texts.precision_and_recall[::-1]),
    "loss": _loss,
    "brier": _brier,
    "expected_calibration_error": _calibration_error,
}
