"""Several labels of one text, such as topics or tags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tuning.errors import DataError
from tuning.targets.class_scores import area_under_roc, calibration_error
from tuning.targets.classes import MIN_TEXTS_PER_CLASS, SEPARATORS, require_probabilities
from tuning.targets.target import (
    Array,
    BinaryDecision,
    LabelColumn,
    LabelEncoder,
    Labels,
    Target,
    likelihoods,
)

if TYPE_CHECKING:
    import pandas as pd

    from tuning.config import DataConfig

SEPARATOR = SEPARATORS[0]  # between the labels of a text in predictions
NO_LABEL = "no label"  # the name of a text without any of several labels
ONE_LABEL = "each cell is one label"  # the rule of a column without separators and lists


@dataclass(frozen=True)
class MultiLabel(Target):
    """The labels are int64 0 and 1, (n, width), with a column for each of `names`; the predictions
    are a probability for each. They do not depend on each other.
    """

    kind = "labels"
    dtype = np.int64
    has_probabilities = True
    is_exclusive = False
    constant_names: ClassVar[dict[str, str]] = {
        "label shares": "always the share of each label as its probability",
        "frequent labels": "always the labels with the highest micro F1",
    }

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise ValueError(f"class_names: must be two or more labels, not {[*self.names]}")
        if len(self.thresholds) not in (0, len(self.names)):
            raise ValueError(f"thresholds: must be one for each label, not {self.thresholds}")

    @property
    def sentence(self) -> str:
        return f"The model gives each text some or none of the labels {', '.join(self.names)}."

    @property
    def width(self) -> int:
        return len(self.names)

    @property
    def facts(self) -> dict[str, Any]:
        return {**super().facts, "multi_label": True}

    @classmethod
    def read(
        cls, values: pd.Series | pd.DataFrame, *, column: str, config: DataConfig
    ) -> LabelColumn:
        from tuning.targets.label_sets import read

        names, labels, is_labeled, rule = read(values, column)
        n_missing = int((~is_labeled).sum())
        remedy = " (write a text without labels as [])" if values.ndim == 1 else ""
        dropped = {f"with an empty cell{remedy}": n_missing} if n_missing else {}
        return LabelColumn(cls(names), labels, is_labeled, dropped, rule)

    def strata(self, labels: Labels) -> npt.NDArray[np.int64]:
        """Return the rarest label of each text, or `width` for a text without labels. A stratum
        with few texts is a part of the largest.
        """
        by_rarity = np.argsort(labels.sum(axis=0), kind="stable")
        rarest = by_rarity[np.argmax(labels[:, by_rarity], axis=1)]
        rarest = np.where(labels.any(axis=1), rarest, self.width)
        n_texts = np.bincount(rarest, minlength=self.width + 1)
        return np.where(n_texts[rarest] < MIN_TEXTS_PER_CLASS, n_texts.argmax(), rarest)

    def require_enough(self, labels: Labels) -> None:
        for name, n in zip(self.names, self.counts(labels), strict=True):
            if min(n, len(labels) - n) < MIN_TEXTS_PER_CLASS:
                raise DataError(
                    f"{MIN_TEXTS_PER_CLASS} different texts or more must have each label, and as"
                    f" many must lack it, for three splits; {n:,} of {len(labels):,} have {name!r}."
                    " Leave the label out, or merge it with another."
                )

    def counts(self, labels: Labels) -> list[int]:
        counts: list[int] = labels.sum(axis=0).tolist()
        return counts

    def doubts(self, rule: str | None) -> str:
        if rule != ONE_LABEL:
            return ""
        return "kind 'classes' is for one label in each text"

    def examples(self, n: int) -> Labels:
        return (np.arange(n)[:, None] + np.arange(self.width)) % 2

    def form_of(self, loss: Any, shape: tuple[int, ...]) -> tuple[LabelEncoder, str | None]:
        from tuning.targets.label_loss import form_of

        return form_of(self, loss, shape)

    def predictions(self, outputs: Array) -> Array:
        outputs = outputs.reshape(len(outputs), -1).astype(np.float64)
        if outputs.shape[1] != self.width:
            raise ValueError(
                f"The model must give a probability for each of {self.width} labels; it gives"
                f" {outputs.shape[1]} numbers a text. End it with Dense({self.width}, 'sigmoid')."
            )
        require_probabilities(outputs)
        return outputs

    def decide(self, predictions: Array) -> Labels:
        return (predictions >= (self.thresholds or 0.5)).astype(np.int64)

    def binary_decisions(self, labels: Labels, predictions: Array) -> dict[str, BinaryDecision]:
        columns = zip(self.names, labels.T > 0, predictions.T, strict=True)
        return {name: BinaryDecision(is_set, yes, yes >= 0.5) for name, is_set, yes in columns}

    def is_right(self, labels: Labels, predictions: Array) -> npt.NDArray[np.bool_]:
        of_labels = super().is_right(labels, predictions)
        is_right: npt.NDArray[np.bool_] = np.all(of_labels, axis=-1)
        return is_right

    def classify(self, probabilities: Any) -> dict[str, Any]:
        import tensorflow as tf

        # Compared in float64, as NumPy does.
        is_set = tf.cast(probabilities, tf.float64) >= (self.thresholds or 0.5)
        names = tf.broadcast_to(tf.constant(self.names), tf.shape(is_set))
        right = tf.where(is_set, probabilities, 1 - probabilities)
        return {
            "label": tf.strings.reduce_join(
                tf.ragged.boolean_mask(names, is_set), axis=1, separator=SEPARATOR
            ),
            "probability": tf.reduce_prod(right, axis=1),
        }

    def labels_of(self, decisions: Labels) -> list[str]:
        names = np.array(self.names, dtype=object)
        return [SEPARATOR.join(names[row > 0]) for row in decisions]

    def confidence(self, predictions: Array) -> list[float | None]:
        """Return the probability that all labels of each decision are right."""
        of_labels = likelihoods(self.decide(predictions), predictions)
        confidence: list[float | None] = of_labels.prod(axis=-1).tolist()
        return confidence

    def formulas(
        self, labels: Labels, predictions: Array, weights: Array
    ) -> Mapping[str, Callable[[], Array]]:
        """Return the formula of each metric, and F1 of each label (`f1_0`, `f1_1`, …). Accuracy is
        the share of the texts of which all labels are right. A mean over labels leaves out those
        for which a metric is undefined.
        """
        decided, is_right = self.decide(predictions), self.is_right(labels, predictions)
        n_right, n_all = 2 * weights @ (labels * decided), weights @ (labels + decided)
        with np.errstate(invalid="ignore"):
            f1 = n_right / n_all
        clipped = np.clip(likelihoods(labels, predictions), 1e-7, 1 - 1e-7)  # as Keras does

        def mean(values: Array | npt.NDArray[np.bool_]) -> Array:
            of_weightings: Array = weights @ values / weights.sum(axis=1)
            return of_weightings

        def areas() -> Array:
            columns = zip(labels.T > 0, predictions.T, strict=True)
            return np.stack([area_under_roc(*column, weights) for column in columns], axis=1)

        return {
            "f1_micro": lambda: n_right.sum(axis=1) / np.maximum(n_all.sum(axis=1), 1),
            "f1_macro": lambda: np.nan_to_num(_mean_of_known(f1)),
            "accuracy": lambda: mean(is_right),
            "auc": lambda: _mean_of_known(areas()),
            "loss": lambda: mean(-np.log(clipped).mean(axis=1)),
            "expected_calibration_error": lambda: calibration_error(
                np.array(self.confidence(predictions)), is_right, weights
            ),
        } | {f"f1_{n}": lambda n=n: f1[:, n] for n in range(self.width)}

    def constants(self, labels: Labels) -> dict[str, Array]:
        shares = labels.mean(axis=0)
        frequent = np.argsort(-shares, kind="stable")
        # If every text gets the k most frequent labels, micro F1 is twice the sum of their shares,
        # divided by k + the sum of all shares.
        n_labels = np.arange(1, self.width + 1)
        best = np.argmax(shares[frequent].cumsum() / (shares.sum() + n_labels)) + 1
        same = np.isin(np.arange(self.width), frequent[:best]).astype(np.float64)
        return dict(zip(self.constant_names, (shares, same), strict=True))

    def linear_columns(self, labels: Labels) -> dict[int, Labels]:
        is_varied = labels.min(axis=0) < labels.max(axis=0)
        return {number: labels[:, number] > 0 for number in np.flatnonzero(is_varied).tolist()}

    def of_linear(self, scores: Mapping[int, Array], constant: Array) -> Array:
        from scipy.special import expit

        predictions = constant.copy()
        for number, of_label in scores.items():
            predictions[:, number] = expit(of_label)
        return predictions


def _mean_of_known(values: Array) -> Array:
    """Return the mean over the columns that are not NaN; NaN without any."""
    with np.errstate(invalid="ignore"):
        mean: Array = np.nansum(values, axis=1) / (~np.isnan(values)).sum(axis=1)
    return mean
