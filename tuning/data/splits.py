"""Split reviews into train, validation and test: 70/15/15, stratified, no text in two splits."""

import contextlib
import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.config import SPLITS
from tuning.data.sources import Reviews
from tuning.data.text_bytes import BOUNDARY, byte_lengths, joined, offsets_of, split_up
from tuning.errors import DataError
from tuning.metrics import DEFAULT_TARGET
from tuning.targets.target import Target

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}

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


@dataclass(frozen=True)
class SplitTexts:
    """The texts of a split, one after the other.

    `data` is uint8 (n_bytes,), the texts in UTF-8, and `offsets` int64 (n + 1,); text i has the
    bytes from `offsets[i]` to `offsets[i + 1]`.
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: list[str]) -> Self:
        encoded = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __add__(self, other: Self) -> "SplitTexts":
        return SplitTexts(
            np.concatenate([self.data, other.data]),
            np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
        )

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        """Return the texts of these rows, an array of `str` of shape (n_rows,)."""
        texts = np.empty(len(rows), dtype=object)
        for number, row in enumerate(rows.tolist()):
            start, end = self.offsets[row], self.offsets[row + 1]
            texts[number] = self.data[start:end].tobytes().decode()
        return texts


def write_texts(folder: Path, texts: pd.Series) -> None:
    """Write the texts of a split, for `map_texts`, to a folder that does not exist."""
    folder.mkdir()
    with (folder / "texts.bin").open("wb") as file:
        for chunk in split_up(texts):
            file.write(joined(chunk, end=b""))
    np.save(folder / "offsets.npy", offsets_of([byte_lengths(texts)]))


def map_texts(folder: Path) -> SplitTexts | None:
    """Return the texts of a split on a memory map; None if they were not written, or if one of
    their files is missing or damaged: a space whose models take token ids does not need them.
    """
    with contextlib.suppress(OSError, ValueError, EOFError):
        data = np.memmap(folder / "texts.bin", np.uint8, "r")
        offsets = np.load(folder / "offsets.npy")
        return SplitTexts(data, offsets) if offsets[-1] == len(data) else None
    return None


def split_reviews(reviews: Reviews, *, seed: int) -> SplitReviews:
    """Split 70/15/15 by distinct text, stratified by the target.

    Texts with the same `identity` are in the same split, so the shares count distinct texts.
    """
    codes = distinct_codes(reviews.frame["text"])
    first_rows = np.unique(codes, return_index=True)[1]
    labels = reviews.labels[first_rows]
    reviews.target.require_enough(labels)
    rows = _assign(reviews.target.strata(labels), seed=seed)[codes]
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
        len(reviews.frame) - len(first_rows),
        _fingerprint(frames, reviews.target),
    )


def _assign(strata: npt.NDArray[np.int64], *, seed: int) -> npt.NDArray[np.int8]:
    """Return the index in `SPLITS` of the split of each distinct text, int8 (n,)."""
    # Imported here because the import takes 2 s, and prediction does not need it.
    from sklearn.model_selection import train_test_split

    train, rest = train_test_split(
        np.arange(len(strata)), train_size=SHARES["train"], stratify=strata, random_state=seed
    )
    validation, test = train_test_split(
        rest, test_size=0.5, stratify=strata[rest], random_state=seed
    )
    split_of = np.empty(len(strata), dtype=np.int8)
    for number, members in enumerate((train, validation, test)):
        split_of[members] = number
    return split_of


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
