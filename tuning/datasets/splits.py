"""Train, validation and test: 70/15/15, stratified, no text in two of them."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split

from tuning.config import SPLITS
from tuning.datasets.sources import Reviews
from tuning.errors import DataError

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
MIN_TEXTS_PER_CLASS = 10  # fewer can't stand in three splits and say anything in the two small ones

_DROP_UNICODE = re.compile(r"[^\w\s]|_")
_ASCII_SPACE = bytes([0x1C, 0x1D, 0x1E, 0x1F])  # white space for str.split, not for bytes.split
_ASCII_TABLE = bytes.maketrans(_ASCII_SPACE, b"    ")
_DROP_ASCII = bytes(b for b in range(128) if not chr(b).isalnum() and not chr(b).isspace())


@dataclass(frozen=True)
class SplitReviews:
    """Reviews in three splits, each a frame like `Reviews.frame`, and what the split found."""

    frames: dict[str, pd.DataFrame]
    class_names: tuple[str, ...]
    n_duplicates: int
    fingerprint: str


def split_reviews(reviews: Reviews, *, seed: int) -> SplitReviews:
    """Split 70/15/15 by distinct text, stratified by class.

    Texts that are equal after folding case and punctuation share a split, so the shares are of distinct texts.

    Raises:
        DataError: a class with fewer than 10 distinct texts.
    """
    codes, distinct = pd.factorize(reviews.frame["text"].map(fold))
    first_rows = np.unique(codes, return_index=True)[1]
    strata = reviews.labels[first_rows]
    counts = np.bincount(strata, minlength=len(reviews.class_names))
    if counts.min() < MIN_TEXTS_PER_CLASS:
        name = reviews.class_names[int(counts.argmin())]
        raise DataError(
            f"Each class must have {MIN_TEXTS_PER_CLASS} different texts or more, to stand in three splits; "
            f"{name!r} has {counts.min()}. Leave it out, or merge it with another."
        )
    groups = np.arange(len(distinct))
    train, rest = train_test_split(groups, train_size=SHARES["train"], stratify=strata, random_state=seed)
    validation, test = train_test_split(rest, test_size=0.5, stratify=strata[rest], random_state=seed)
    split_of = np.empty(len(distinct), dtype=np.int8)
    for number, members in enumerate((train, validation, test)):
        split_of[members] = number
    rows = split_of[codes]
    frames = {name: reviews.frame[rows == number].reset_index(drop=True) for number, name in enumerate(SPLITS)}
    return SplitReviews(frames, reviews.class_names, len(reviews.frame) - len(distinct), _fingerprint(frames, reviews.class_names))


def fold(text: str) -> str:
    """Case folded, everything but letters, digits and white space dropped, white space runs made one space."""
    if text.isascii():
        return b" ".join(text.lower().encode().translate(_ASCII_TABLE, _DROP_ASCII).split()).decode()
    return " ".join(_DROP_UNICODE.sub("", text.casefold()).split())


def _fingerprint(frames: dict[str, pd.DataFrame], class_names: tuple[str, ...]) -> str:
    """16 hex digits over every text, label, class name and its place in the splits."""
    digest = hashlib.sha256(repr(class_names).encode())
    for name, frame in frames.items():
        texts = [text.encode() for text in frame["text"]]
        lengths: npt.NDArray[np.int64] = np.array([len(text) for text in texts], dtype=np.int64)
        for part in (name.encode(), lengths.tobytes(), frame["label"].to_numpy().astype(np.int64).tobytes(), *texts):
            digest.update(part)
    return digest.hexdigest()[:16]
