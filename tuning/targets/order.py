"""One of several ordered classes, such as 1 to 5 stars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tuning.errors import DataError
from tuning.targets.classes import Classes
from tuning.targets.number import errors
from tuning.targets.target import Array, LabelColumn, Labels

if TYPE_CHECKING:
    import pandas as pd

    from tuning.config import DataConfig


@dataclass(frozen=True)
class Order(Classes):
    """Classes whose names are ascending numbers. The decision is the median of the probabilities,
    which has the smallest expected distance to the label.
    """

    kind = "order"
    constant_names: ClassVar[dict[str, str]] = {"median class": "always the median label"}

    @property
    def sentence(self) -> str:
        return (
            f"The model assigns each text to one of {', '.join(self.names)}, the median of its"
            " probabilities for these classes."
        )

    @property
    def values(self) -> Array:
        return np.array([float(name) for name in self.names])

    @classmethod
    def read(cls, values: pd.Series, *, column: str, config: DataConfig) -> LabelColumn:
        from tuning.targets.class_column import to_classes

        classes = to_classes(values, column=column, drop_stars=config.drop_stars, is_ordered=True)
        word = next((name for name in classes.class_names if not _is_number(name)), None)
        if word is not None and len(classes.class_names) > 2:
            raise DataError(
                f"A column for kind 'order' must have numbers; {column!r} has {word!r}. Give"
                " each class a number, or leave kind out."
            )
        if len(classes.class_names) < 3:
            raise DataError(
                f"A column for kind 'order' must have 3 classes or more; {column!r} has"
                f" {len(classes.class_names)}. Leave kind out."
            )
        return LabelColumn(
            cls(classes.class_names), classes.codes, classes.codes >= 0, classes.dropped
        )

    def decide(self, predictions: Array) -> Labels:
        # The probabilities of float32, or of several sigmoids, do not sum to 1.
        below = np.cumsum(predictions, axis=-1)
        decisions: Labels = (below < below[..., -1:] / 2).sum(axis=-1)
        return decisions

    def _decided(self, exact: Any) -> Any:
        import tensorflow as tf

        below = tf.cumsum(exact, axis=1)
        is_passed = below < below[:, -1:] / 2
        return tf.reduce_sum(tf.cast(is_passed, tf.int64), axis=1)

    def formulas(
        self, labels: Labels, predictions: Array, weights: Array
    ) -> Mapping[str, Callable[[], Array]]:
        values, decided = self.values, self.decide(predictions)
        of_numbers = errors(values[labels], values[decided], weights)
        return {
            **super().formulas(labels, predictions, weights),
            "quadratic_kappa": lambda: quadratic_kappa(labels, decided, weights),
            **{name: of_numbers[name] for name in ("mae", "rmse")},
        }


def quadratic_kappa(labels: Labels, decided: Labels, weights: Array) -> Array:
    """Return Cohen's kappa with quadratic weights (Cohen 1968), (n_weightings,): 1 - d / c, where d
    is the mean squared distance of labels and decisions, (n,), and c that of independent draws.
    """
    total, of_labels, of_decided = weights.sum(axis=1), weights @ labels, weights @ decided
    # Sums of integers are exact: a constant decision has a kappa of 0, and not of -1e-16.
    in_common = total * (weights @ (labels * decided)) - of_labels * of_decided
    by_chance = total * (weights @ (labels**2 + decided**2)) - 2 * of_labels * of_decided
    kappa: Array = 2 * in_common / np.where(by_chance > 0, by_chance, np.nan)
    return kappa


def _is_number(name: str) -> bool:
    try:
        return bool(np.isfinite(float(name)))
    except ValueError:
        return False
