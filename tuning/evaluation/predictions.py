"""The probabilities of a model for the texts of a split, from which figures are drawn, as one file.

`test.npz` is written with the scores of an export, so no figure needs a further evaluation on the
test split. A confirmation writes those of each repeat for the validation split, or for the folds.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuning.atomic_io import write_arrays
from tuning.data.splits import SplitReviews
from tuning.targets.target import Array, Labels, Target
from tuning.text import visible

# The remedy for a model that gives NaN for texts without words.
NAN_REMEDY = (
    "A GlobalAveragePooling1D with a mask, for example, divides by the number of words, which is 0:"
    " compute the mean with mean_over_words(x, is_word(ids)) of tuning.models.words, or remove"
    " these texts from the data."
)
# Name of the array of probabilities in `test.npz` and in the file of a repeat.
PROBABILITIES = "probabilities"
# Errors of NumPy for a file that is missing, damaged or of another kind. A `RuntimeError` comes
# from flags of the ZIP format, a `TypeError` from a file with a single array.
DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
)
NOT_TEST = "not test"  # the rows of the training and then the validation split
MAX_GROUPS = 20  # maximum number of values of a column that are groups of their own
MAX_VALUE = 60  # maximum number of characters of a value


@dataclass(frozen=True)
class Column:
    """The values of a column of the data for the texts of a split: the most frequent values, cut to
    `MAX_VALUE` characters, a last group for all others, and the index of each text's group, int64
    (n_texts,).
    """

    name: str
    groups: tuple[str, ...]
    codes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for the texts of a split.

    Attributes:
        labels: (n_texts,).
        lengths: the number of tokens of each text, int64 (n_texts,).
        probabilities: the predictions of `target`, float (n_texts, width).
        when: the time of the evaluation, as the study has recorded it; empty for the validation
            split.
        column: the values of the slice column of the data, if a slice column was named.
    """

    labels: Labels
    lengths: npt.NDArray[np.int64]
    probabilities: Array
    when: str = ""
    column: Column | None = None
    target: Target = field(kw_only=True)

    @property
    def is_right(self) -> npt.NDArray[np.bool_]:
        return self.target.is_right(self.labels, self.probabilities)


def column_of(name: str, values: Sequence[str]) -> Column:
    shown = [visible(str(value).strip()) or "(empty)" for value in values]
    counts = Counter(shown)
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MAX_GROUPS]
    n_others = len(counts) - len(frequent)
    others = [f"{n_others:,} other values"] if n_others else []
    code_of = {value: code for code, value in enumerate(frequent)}
    codes = np.array([code_of.get(value, len(frequent)) for value in shown], dtype=np.int64)
    names = [
        value if len(value) <= MAX_VALUE else f"{value[: MAX_VALUE - 1]}…" for value in frequent
    ]
    return Column(visible(name)[:MAX_VALUE], (*names, *others), codes)


def columns_of(name: str, splits: SplitReviews) -> dict[str, Column]:
    """Return the values of the slice column `name`, for `NOT_TEST` and for "test"."""
    train, validation, test = (frame["slice"].tolist() for frame in splits.frames.values())
    return {NOT_TEST: column_of(name, train + validation), "test": column_of(name, test)}


def write_predictions(path: Path, predictions: Predictions) -> None:
    column = predictions.column
    of_column = (
        {}
        if column is None
        else {
            "column": np.array(column.name),
            "groups": np.array(column.groups),
            "codes": column.codes,
        }
    )
    write_arrays(
        path,
        {
            "labels": predictions.labels,
            "lengths": predictions.lengths,
            "when": np.array(predictions.when),
            PROBABILITIES: predictions.probabilities.astype(np.float32),
            **of_column,
        },
    )


def read_predictions(path: Path, target: Target) -> Predictions | None:
    """Return the predictions in a file; None if it is missing or damaged."""
    try:
        # `np.load` leaves a damaged file open if it gets a path.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            column = None
            if "column" in saved.files:
                groups = tuple(str(group) for group in saved["groups"])
                column = Column(str(saved["column"]), groups, saved["codes"].astype(np.int64))
            return Predictions(
                labels=saved["labels"].astype(target.dtype),
                lengths=saved["lengths"].astype(np.int64),
                probabilities=saved[PROBABILITIES].astype(np.float64),
                when=str(saved["when"]),
                column=column,
                target=target,
            )
    except DAMAGED:
        return None


def write_probabilities(path: Path, probabilities: Array) -> None:
    """Write the probabilities of a repeat for the validation split, or for the folds, as float32.
    Those of rows that no fold predicts, because they are the first in time, are NaN.
    """
    write_arrays(path, {PROBABILITIES: probabilities.astype(np.float32)})


def read_probabilities(path: Path) -> Array | None:
    """Return the float32 probabilities in a repeat's file; None if it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            probabilities: Array = saved[PROBABILITIES]
            return probabilities
    except DAMAGED:
        return None
