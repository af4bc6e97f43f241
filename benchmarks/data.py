"""The data of all sides: the texts and labels of one split, and larger data sets drawn from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tuning.config import SPLITS, DataConfig
from tuning.data.sources import load_reviews
from tuning.data.splits import SHARES, SplitReviews, split_reviews
from tuning.errors import DataError
from tuning.inputs.corpus import build_corpus
from tuning.inputs.ngram_vocabulary import build_ngrams


def load_split(data: DataConfig, *, seed: int) -> SplitReviews:
    """Return the split that `tuning.search.tune` makes of the same data and seed."""
    splits = split_reviews(load_reviews(data), seed=seed)
    if splits.target.width != 2:  # The peers' models have one sigmoid.
        raise DataError(
            f"make bench needs data of two classes; {data.data!r} has {splits.target.width}."
        )
    return splits


def describe_data(splits: SplitReviews) -> dict[str, Any]:
    return {"fingerprint": splits.fingerprint, "n_rows": splits.n_rows}


def write_corpus(*, splits: SplitReviews, folder: Path) -> None:
    build_ngrams(build_corpus(folder, splits))


def resample(splits: SplitReviews, *, n_rows: int, seed: int) -> SplitReviews:
    """Return `n_rows` reviews, drawn with replacement within each split."""
    frames = {
        name: splits.frames[name].sample(
            round(n_rows * SHARES[name]), replace=True, random_state=seed, ignore_index=True
        )
        for name in SPLITS
    }
    return SplitReviews(
        frames, splits.target, splits.n_duplicates, f"{splits.fingerprint}-{n_rows}"
    )


def resample_frame(splits: SplitReviews, *, n_rows: int, seed: int) -> pd.DataFrame:
    return pd.concat(splits.frames.values()).sample(
        n_rows, replace=True, random_state=seed, ignore_index=True
    )


def write_reviews(*, splits: SplitReviews, path: Path, n_rows: int, seed: int) -> DataConfig:
    path.parent.mkdir(parents=True, exist_ok=True)
    resample_frame(splits, n_rows=n_rows, seed=seed).to_parquet(path)
    return DataConfig(data=str(path), text_column="text", label_column="label")
