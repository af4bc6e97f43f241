"""The best constants, as references for a comparison with a tuned model, and the parts of a linear
model (`ngram_model`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tuning.evaluation.linear_reference import LinearTask
from tuning.metrics import sign
from tuning.targets.target import Array, Labels, Target

# Maximum number of texts of train + validation: more take minutes and improve a linear model
# little.
MAX_TEXTS = 100_000


@dataclass(frozen=True)
class Reference:
    """A reference that was trained on train + validation, as an exported model is, its predictions
    for the test texts, (n_texts, width), and the seconds of both.
    """

    about: str
    predictions: Array
    seconds: float


Texts = TypeVar("Texts")


class Split(NamedTuple, Generic[Texts]):
    """The texts of a split, or their n-grams, with their labels, and the weights of the rows, (n,),
    or None if all are equal.
    """

    texts: Texts
    labels: Labels
    weights: Array | None = None

    def part(self, rows: npt.NDArray[np.intp], texts: Texts) -> Split[Texts]:
        weights = None if self.weights is None else self.weights[rows]
        return Split(texts, self.labels[rows], weights)


def both(train: Split[Texts], validation: Split[Texts], texts: Texts) -> Split[Texts]:
    weights = None
    if train.weights is not None and validation.weights is not None:
        weights = np.concatenate([train.weights, validation.weights])
    return Split(texts, np.concatenate([train.labels, validation.labels]), weights)


def learned(
    rows: Split[sparse.csr_matrix], *, target: Target, task: LinearTask
) -> Split[sparse.csr_matrix]:
    """Return the rows that a linear model learns from, with their weights in its loss."""
    weights = target.text_weights(task.class_weight, rows.labels, rows.weights)
    if weights is None or weights.all():
        return rows._replace(weights=weights)
    # Log-count ratios and constants count texts without their weights.
    kept = np.flatnonzero(weights)
    return rows._replace(weights=weights).part(kept, rows.texts[kept])


def gain(labels: Labels, predictions: Array, *, target: Target, task: LinearTask) -> float:
    """Return the value by which linear models are tuned, signed so that more is better."""
    metric = task.objective(target)
    value = sign(metric) * target.value(labels, predictions, metric=metric)
    # `max` with a NaN would take whichever comes first.
    return -math.inf if math.isnan(value) else value


def constants(
    train: Labels, validation: Labels, n_test: int, *, target: Target
) -> dict[str, Reference]:
    """Return the best constants of train + validation as predictions for `n_test` texts."""
    values = target.constants(np.concatenate([train, validation]))
    return {
        name: Reference(target.constant_names[name], np.tile(same, (n_test, 1)), seconds=0.0)
        for name, same in values.items()
    }


def rows_of_part(strata: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.intp]:
    """Return the rows of a share of each stratum's texts, evenly spaced, with at least one text of
    each stratum.
    """

    def part_of(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        n = max(round(share * len(rows)), 1)
        places: npt.NDArray[np.intp] = np.linspace(0, len(rows) - 1, n).round().astype(np.intp)
        return rows[places]

    by_stratum = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    return np.sort(np.concatenate([part_of(rows) for rows in by_stratum]))
