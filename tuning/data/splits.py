"""Split reviews into train, validation and test, by one of several kinds of split.

Each kind is a module that has the members of `SplitKind`, and an entry in `SPLIT_KINDS`.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.config import SPLITS, check_name
from tuning.data import random_split
from tuning.data.sources import Reviews
from tuning.data.text_bytes import BOUNDARY, byte_lengths, joined, split_up
from tuning.errors import ArgumentError, DataError
from tuning.metrics import DEFAULT_TARGET
from tuning.targets.target import Target


class SplitKind(Protocol):
    """A rule for which rows are for training, validation and test.

    `SENTENCE` describes the rule in the data card. `COLUMN` names, in the plural, the values that
    the rule reads beside texts and labels, such as "products"; they are in the column `split` of
    `reviews.frame`, which `DataConfig.split_column` chooses. None: the rule reads no such column.
    """

    SENTENCE: str
    COLUMN: str | None

    def assign(
        self, reviews: Reviews, texts: npt.NDArray[np.int64], *, seed: int
    ) -> npt.NDArray[np.int8]:
        """Return the index in `SPLITS` of the split of each row, int8 (n_rows,).

        `texts` is the number of each row's text, from 0 in order of first occurrence. Rows with the
        same number must be in the same split. The result must not depend on anything but the
        arguments.

        Raises:
            DataError: the rows can't be split by the rule.
        """


SPLIT_KINDS: dict[str, SplitKind] = {"random": random_split}

_DROP_UNICODE = re.compile(r"[^\w\s]|_")
_ASCII_TABLE = bytes(
    ord(" ") if b < 128 and chr(b).isspace() else ord(chr(b).lower()) if b < 128 else b
    for b in range(256)
)
_NOTHING = BOUNDARY[:2]  # the folded bytes of a text without letters and digits
_DROP_ASCII = bytes(b for b in range(128) if not chr(b).isalnum() and not chr(b).isspace())


@dataclass(frozen=True)
class SplitReviews:
    """Reviews in three splits.

    `frames` has a frame like `Reviews.frame` for each split. `n_duplicates` is the number of
    reviews whose text occurs before, by its `identity`; `fingerprint` is 16 hex digits over the
    texts and labels of all splits.
    """

    frames: dict[str, pd.DataFrame]
    target: Target
    n_duplicates: int
    fingerprint: str

    def require_fingerprint(self, fingerprint: str) -> None:
        """Check that data that were read again have the fingerprint of their corpus."""
        if self.fingerprint != fingerprint:
            raise DataError(
                "The data must not change while they are read: their fingerprint was"
                f" {fingerprint}, and is {self.fingerprint} now. Run the command again."
            )


def split_reviews(reviews: Reviews, *, seed: int, kind: str = "random") -> SplitReviews:
    """Split reviews by a kind of split. Texts with the same `identity` are in the same split."""
    check_name("split", kind, tuple(SPLIT_KINDS))
    rule = SPLIT_KINDS[kind]
    if (rule.COLUMN is None) != ("split" not in reviews.frame):
        raise ArgumentError(
            f"split {kind!r} must come with split_column, the column of {rule.COLUMN}."
            if rule.COLUMN
            else f"split_column must be left out with split {kind!r}, which reads no column."
        )
    texts = distinct_codes(reviews.frame["text"])
    rows = rule.assign(reviews, texts, seed=seed)
    columns = {column: reviews.frame[column] for column in reviews.frame}
    # Each column is filtered by itself, because selecting rows of a frame copies all columns first.
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
        reviews.target,
        len(texts) - int(texts.max()) - 1,
        _fingerprint(frames, reviews.target),
    )


def fold(text: str) -> str:
    """Return the case-folded letters and digits of a text, with one space for a run of spaces."""
    return " ".join(_DROP_UNICODE.sub("", text.casefold()).split())


def identity(text: str) -> str:
    """Return the key of a text: texts with the same key are duplicates, and are in the same split.

    The key is the folded text, or the text itself if the folded text is empty: 👍 and 👎 differ.
    """
    return fold(text) or " ".join(text.split())


def distinct_codes(texts: pd.Series) -> npt.NDArray[np.int64]:
    """Return a number for the `identity` of each text, int64 (n,), in order of first occurrence."""
    digests = [digest for chunk in split_up(texts) for digest in folded_digests(chunk)]
    codes: npt.NDArray[np.int64] = pd.factorize(np.array(digests, dtype=object))[0]
    return codes


def folded_digests(texts: pd.Series) -> list[bytes]:
    """Return a digest of 16 bytes of each text's `identity`; the identities of 1,000,000 reviews
    themselves would take 1 GiB.

    ASCII texts are folded all at once, in half the time. Other texts are folded first, and folding
    them again changes nothing.
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


def _fingerprint(frames: dict[str, pd.DataFrame], target: Target) -> str:
    """Return 16 hex digits over texts and labels in the order of the splits, and the target."""
    digest = hashlib.sha256(repr(target.names).encode())
    if target.kind != DEFAULT_TARGET:
        digest.update(target.kind.encode())
    for name, frame in frames.items():
        for part in (
            name.encode(),
            byte_lengths(frame["text"]).tobytes(),
            frame["label"].to_numpy().astype(target.dtype).tobytes(),
        ):
            digest.update(part)
        for chunk in split_up(frame["text"]):
            digest.update(joined(chunk, end=b""))
    return digest.hexdigest()[:16]
