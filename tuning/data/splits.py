"""Train, validation and test: 70/15/15, stratified, no text in two of them."""

import hashlib
import itertools
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tuning.config import SPLITS
from tuning.data.arrow_tokenizer import BOUNDARY, byte_lengths, joined, split_up
from tuning.data.sources import Reviews
from tuning.errors import DataError

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
MIN_TEXTS_PER_CLASS = 10  # fewer can't stand in three splits and say anything in the two small ones

_DROP_UNICODE = re.compile(r"[^\w\s]|_")
_ASCII_TABLE = bytes(
    ord(" ") if b < 128 and chr(b).isspace() else ord(chr(b).lower()) if b < 128 else b
    for b in range(256)
)
_NOTHING = BOUNDARY[
    :2
]  # the folded bytes of a text without letters and digits: its boundaries alone
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

    Texts of the same `identity` share a split, so the shares are of distinct texts.

    Raises:
        DataError: a class with fewer than 10 distinct texts.
    """
    from sklearn.model_selection import (
        train_test_split,
    )  # two seconds that prediction, which reads files too, does not need

    digests = [
        digest for chunk in split_up(reviews.frame["text"]) for digest in folded_digests(chunk)
    ]
    codes, distinct = pd.factorize(np.array(digests, dtype=object))
    first_rows = np.unique(codes, return_index=True)[1]
    strata = reviews.labels[first_rows]
    counts = np.bincount(strata, minlength=len(reviews.class_names))
    if counts.min() < MIN_TEXTS_PER_CLASS:
        name = reviews.class_names[int(counts.argmin())]
        raise DataError(
            f"Each class must have {MIN_TEXTS_PER_CLASS} different texts or more, to stand in three"
            f" splits; {name!r} has {counts.min()}. Leave it out, or merge it with another."
        )
    groups = np.arange(len(distinct))
    train, rest = train_test_split(
        groups, train_size=SHARES["train"], stratify=strata, random_state=seed
    )
    validation, test = train_test_split(
        rest, test_size=0.5, stratify=strata[rest], random_state=seed
    )
    split_of = np.empty(len(distinct), dtype=np.int8)
    for number, members in enumerate((train, validation, test)):
        split_of[members] = number
    rows = split_of[codes]
    columns = {column: reviews.frame[column] for column in reviews.frame}
    # by column: pandas filters Arrow's text in place, but takes a frame's rows from a copy of all
    # of them
    frames = {
        name: (
            pd.DataFrame(
                {column: values[rows == number] for column, values in columns.items()}
            ).reset_index(drop=True)
        )
        for number, name in enumerate(SPLITS)
    }
    return SplitReviews(
        frames,
        reviews.class_names,
        len(reviews.frame) - len(distinct),
        _fingerprint(frames, reviews.class_names),
    )


def fold(text: str) -> str:
    """Case folded, everything but letters, digits and white space dropped, white space runs made
    one space.
    """
    return " ".join(_DROP_UNICODE.sub("", text.casefold()).split())


def identity(text: str) -> str:
    """What two texts must have in common to share a split: what `fold` gives, or the text where
    that is nothing (👍 is not 👎).
    """
    return fold(text) or " ".join(text.split())


def folded_digests(texts: pd.Series) -> list[bytes]:
    """16 bytes for each text, equal where `identity` gives equal texts; those of 1,000,000 reviews
    would take 1 GiB.

    What `fold` does to ASCII is done to the whole chunk at once, in half the time; to a folded text
    it does nothing.
    """
    text = joined([text if text.isascii() else fold(text) for text in texts.tolist()], end=BOUNDARY)
    data = np.frombuffer((BOUNDARY + text).translate(_ASCII_TABLE, _DROP_ASCII), dtype=np.uint8)
    is_space = data == ord(" ")
    data = data[~np.concatenate([[False], is_space[1:] & is_space[:-1]])]
    ends = np.flatnonzero(data == BOUNDARY[1]) + 1
    whole = data.tobytes()
    folded = [whole[start:end] for start, end in itertools.pairwise(ends.tolist())]
    for row in (row for row, rest in enumerate(folded) if rest == _NOTHING):
        folded[row] = identity(texts.iloc[row]).encode()
    return [hashlib.blake2b(rest, digest_size=16).digest() for rest in folded]


def _fingerprint(frames: dict[str, pd.DataFrame], class_names: tuple[str, ...]) -> str:
    """16 hex digits over every text, label, class name and its place in the splits."""
    digest = hashlib.sha256(repr(class_names).encode())
    for name, frame in frames.items():
        for part in (
            name.encode(),
            byte_lengths(frame["text"]).tobytes(),
            frame["label"].to_numpy().astype(np.int64).tobytes(),
        ):
            digest.update(part)
        for chunk in split_up(frame["text"]):
            digest.update(joined(chunk, end=b""))
    return digest.hexdigest()[:16]
