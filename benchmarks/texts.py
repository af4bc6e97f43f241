"""The data of all sides: the texts and labels of one split, and larger data sets drawn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.config import SPLITS, DataConfig
from tuning.data.sources import load_reviews
from tuning.data.splits import SHARES, SplitReviews, split_reviews
from tuning.errors import DataError


@dataclass(frozen=True)
class Texts:
    """The texts and labels (int64 arrays of 0 and 1) of the training and validation splits, as a
    peer takes them.
    """

    train: list[str]
    train_labels: npt.NDArray[np.int64]
    validation: list[str]
    validation_labels: npt.NDArray[np.int64]


def load_split(data: DataConfig, *, seed: int, any_classes: bool = False) -> SplitReviews:
    """Return the split that `tuning.search.tune` makes of the same data and seed.

    Raises:
        DataError: the data can't be used, or do not have two classes, as most peers need; with
            `any_classes`, any number of classes is accepted.
    """
    splits = split_reviews(load_reviews(data), seed=seed)
    if len(splits.class_names) != 2 and not any_classes:
        raise DataError(
            "make bench needs data of two classes, and only make bench-fasttext takes more;"
            f" {data.data!r} has {len(splits.class_names)}."
        )
    return splits


def peer_texts(splits: SplitReviews) -> Texts:
    """Return the data that a peer has in memory before its time is measured."""
    train, validation = splits.frames["train"], splits.frames["validation"]
    return Texts(
        train["text"].tolist(),
        train["label"].to_numpy().astype(np.int64),
        validation["text"].tolist(),
        validation["label"].to_numpy().astype(np.int64),
    )


def resample(splits: SplitReviews, *, n_rows: int, seed: int) -> SplitReviews:
    """Return `n_rows` reviews, drawn with replacement within each split, in the shares of a real
    split.
    """
    frames = {}
    for name in SPLITS:
        n = round(n_rows * SHARES[name])
        frames[name] = splits.frames[name].sample(
            n, replace=True, random_state=seed, ignore_index=True
        )
    return SplitReviews(
        frames, splits.class_names, splits.n_duplicates, f"{splits.fingerprint}-{n_rows}"
    )


def resample_frame(splits: SplitReviews, *, n_rows: int, seed: int) -> pd.DataFrame:
    """Return `n_rows` reviews of all splits, drawn with replacement: a data set to write to a
    file.
    """
    return pd.concat(splits.frames.values()).sample(
        n_rows, replace=True, random_state=seed, ignore_index=True
    )
