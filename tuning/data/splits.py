"""Split reviews into train, validation and test, by one of several kinds of split.

Each kind is a module that has the members of `SplitKind`, and an entry in `SPLIT_KINDS`.
"""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.config import SPLITS, TFDS_SPLIT, DataConfig
from tuning.data import group_split, random_split, time_split
from tuning.data.rows import LEFT_OUT, Numbers, Parts, Rows
from tuning.data.sources import Reviews, labels_in
from tuning.data.text_bytes import BOUNDARY, byte_lengths, joined, split_up
from tuning.errors import DataError
from tuning.metrics import CLASSES, DEFAULT_TARGET
from tuning.targets.target import Labels, Target

# Minimum number of different texts of a stratum that is no class: three splits can have some of it.
MIN_STRATUM = 7


class SplitKind(Protocol):
    """A rule that draws the rows of several parts, such as train, validation and test.

    `IS_ORDERED`: whether a later part is later in time, so that nothing is trained on rows that
    come after those of its evaluation. `SENTENCE` describes the rule in the data card; `{group}`
    and `{time}` are the names of the columns.
    """

    IS_ORDERED: bool
    SENTENCE: str

    def draw(self, rows: Rows, shares: Sequence[float], *, seed: int) -> Parts:
        """Return the number of the part of each row, int8 (n_rows,).

        `shares` is the share of each part, with the sum 1. The result must not depend on anything
        but the arguments. Where a text is in several parts, `without_copies` keeps the rows of the
        last part.

        Raises:
            DataError: the rows can't be split by the rule.
        """


SPLIT_KINDS: dict[str, SplitKind] = {
    "random": random_split,
    "group": group_split,
    "time": time_split,
}
SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
# What data sets call the splits.
NAMES = {
    **{name: number for number, name in enumerate(SPLITS)},
    "training": 0,
    **dict.fromkeys(("val", "valid", "dev"), 1),
}

_DROP_UNICODE = re.compile(r"[^\w\s]|_")
_SPACES = bytes(b for b in range(128) if chr(b).isspace())
_ASCII_TABLE = bytes(range(256)).lower().translate(bytes.maketrans(_SPACES, b" " * len(_SPACES)))
_NOTHING = BOUNDARY[:2]  # the folded bytes of a text without letters and digits
_DROP_ASCII = bytes(b for b in range(128) if not chr(b).isalnum() and not chr(b).isspace())


@dataclass(frozen=True)
class SplitReviews:
    """Reviews in three splits.

    Attributes:
        frames: a frame like `Reviews.frame` for each split.
        n_duplicates: number of reviews whose text occurs before, by its `identity`.
        fingerprint_of_rows: 16 hex digits (`_fingerprint`).
        sentence: how the rows were split.
        n_left_out: number of rows that are in no split, because their text is in a later split.
        draws_validation: whether the rows of the validation split were drawn, and not given.
        known_rows: the value of `rows`, if it has been computed.
        counts_validation: whether words and n-grams are counted in the validation split too.
    """

    frames: dict[str, pd.DataFrame]
    target: Target
    n_duplicates: int
    fingerprint_of_rows: str
    sentence: str = random_split.SENTENCE
    n_left_out: int = 0
    draws_validation: bool = True
    known_rows: Rows | None = None
    counts_validation: bool = False

    @property
    def fingerprint(self) -> str:
        """16 hex digits: equal fingerprints mean equal rows with equal token ids."""
        if not self.counts_validation:
            return self.fingerprint_of_rows
        counted = f"{self.fingerprint_of_rows} train validation"
        return hashlib.sha256(counted.encode()).hexdigest()[:16]

    @property
    def n_rows(self) -> dict[str, int]:
        return {name: len(frame) for name, frame in self.frames.items()}

    @property
    def rows(self) -> Rows:
        """The rows of the training and then the validation split."""
        if self.known_rows:  # Comparing 1,000,000 texts again would take seconds.
            return self.known_rows
        return rows_of(self.frame_of_rows, self.target)

    @property
    def frame_of_rows(self) -> pd.DataFrame:
        return pd.concat([self.frames[name] for name in SPLITS[:2]], ignore_index=True)

    def require_fingerprint(self, fingerprint: str) -> None:
        if self.fingerprint != fingerprint:
            raise DataError(
                "The data must not change while they are read: their fingerprint was"
                f" {fingerprint}, and is {self.fingerprint} now. Run the command again."
            )


def split_reviews(reviews: Reviews, *, seed: int, config: DataConfig | None = None) -> SplitReviews:
    config = config or DataConfig()
    frame, target = reviews.frame, reviews.target
    rows = rows_of(frame, target)
    texts = rows.texts
    target.require_enough(reviews.labels[np.unique(texts, return_index=True)[1]])
    kind = SPLIT_KINDS[config.split]
    parts, drawn = _assigned(rows, reviews, kind, config, seed=seed)
    parts = without_copies(parts, texts)
    _require_classes(parts, reviews, config)
    if "weight" in frame:
        in_train = parts == 0
        weights = frame["weight"].to_numpy()[in_train]
        if unused := unweighted(target, reviews.labels[in_train], weights):
            raise DataError(
                f"weight_column {config.weight_column!r} must have numbers above 0 in the training"
                f" split; there, all {unused} have 0. Give these rows weights, or leave them out."
            )
    # Each column is filtered by itself, because selecting rows of a frame copies all columns first.
    frames = {
        name: (
            pd.DataFrame({column: frame[column][parts == number] for column in frame}).reset_index(
                drop=True
            )
        )
        for number, name in enumerate(SPLITS)
    }
    return SplitReviews(
        frames,
        target,
        len(texts) - int(texts.max()) - 1,
        _fingerprint(frames, target),
        sentence=_sentence(
            kind,
            config,
            {name: _start_of(frame, rows, parts == SPLITS.index(name)) for name in drawn},
            n_shared=_n_shared(rows, parts, drawn),
        ),
        n_left_out=int((parts == LEFT_OUT).sum()),
        draws_validation="validation" in drawn,
        known_rows=_at(np.concatenate([np.flatnonzero(parts == n) for n in (0, 1)]), rows, target),
    )


def rows_of(frame: pd.DataFrame, target: Target) -> Rows:
    has_weights = "weight" in frame and target.kind in CLASSES
    rows = Rows(
        texts=distinct_codes(frame["text"]),
        strata=target.strata(labels_in(frame)),
        groups=group_split.numbers(frame["group"]) if "group" in frame else None,
        times=time_split.ranks(frame["time"]) if "time" in frame else None,
        is_learned=(frame["weight"] > 0).to_numpy() if has_weights else None,
    )
    return _at(np.arange(len(frame)), rows, target)


def _at(places: Numbers, rows: Rows, target: Target) -> Rows:
    """Return the rows at some places, whose strata can be split again if they are no classes."""
    part = rows.at(places)
    is_class = target.kind in CLASSES
    return part if is_class else replace(part, strata=_merged(part.strata, part.texts))


def _merged(strata: Numbers, texts: Numbers) -> Numbers:
    """Return the strata with at least `MIN_STRATUM` different texts. The rows of a smaller stratum
    get the number of the nearest of these.
    """
    first = np.unique(texts, return_index=True)[1]
    names, counts = np.unique(strata[first], return_counts=True)
    kept = names[counts >= MIN_STRATUM]
    if not len(kept):
        return np.zeros_like(strata)
    every, numbers = np.unique(strata, return_inverse=True)
    nearest: Numbers = kept[np.abs(every[:, None] - kept).argmin(axis=1)]
    return nearest[numbers]


def _assigned(
    rows: Rows, reviews: Reviews, kind: SplitKind, config: DataConfig, *, seed: int
) -> tuple[Parts, list[str]]:
    """Return the part of each row, and the names of the splits that were drawn."""
    if "split" not in reviews.frame:
        return kind.draw(rows, [*SHARES.values()], seed=seed), [*SPLITS[1:]]
    parts = _given_parts(reviews.frame["split"], config)
    drawn = [name for number, name in enumerate(SPLITS) if number == 0 or number not in parts]
    if len(drawn) == len(SPLITS) and config.split_column != TFDS_SPLIT:
        raise DataError(
            f"split_column {config.split_column!r} must name rows for the test or the validation;"
            " it has train alone. Leave split_column out to draw both."
        )
    if len(drawn) > 1:
        of_train = np.flatnonzero(parts == 0)
        total = sum(SHARES[name] for name in drawn)
        shares = [SHARES[name] / total for name in drawn]
        numbers = np.array([SPLITS.index(name) for name in drawn], dtype=np.int8)
        of_rows = _at(of_train, rows, reviews.target)
        parts[of_train] = numbers[kind.draw(of_rows, shares, seed=seed)]
    return parts, drawn[1:]


def _given_parts(values: pd.Series, config: DataConfig) -> Parts:
    names = values.str.strip().str.casefold()
    parts = names.map(NAMES)
    # The rows of `unsupervised` and of other splits of a TFDS data set are for training.
    if config.split_column == TFDS_SPLIT:
        parts = parts.fillna(0)
    if parts.isna().any():
        wrong = values[parts.isna()]
        raise DataError(
            f"split_column {config.split_column!r} must have the values train, validation and"
            f" test (or val, valid, dev); {len(wrong):,} of {len(values):,} rows have others, the"
            f" first {wrong.iloc[0]!r}."
        )
    if not (parts == 0).any():
        raise DataError(
            f"split_column {config.split_column!r} must have rows with the value train; none has."
        )
    return np.array(parts, dtype=np.int8)


def without_copies(parts: Parts, texts: npt.NDArray[np.int64]) -> Parts:
    """Return the parts, with `LEFT_OUT` for the rows whose text is also in a later part."""
    # A model would have seen these texts before it is evaluated on the later part.
    last = np.full(int(texts.max()) + 1, LEFT_OUT, dtype=np.int8)
    np.maximum.at(last, texts, parts)
    kept = parts.copy()
    kept[parts < last[texts]] = LEFT_OUT
    return kept


def _require_classes(parts: Parts, reviews: Reviews, config: DataConfig) -> None:
    columns = [f"{role}_column {column!r}" for role, column in config.roles.items()]
    for number, name in enumerate(SPLITS):
        labels = reviews.labels[parts == number]
        present = np.array(reviews.target.counts(labels), dtype=bool)
        n_needed = len(present) if number == 0 else min(2, len(present))
        if len(labels) and present.sum() >= n_needed:
            continue
        missing = reviews.target.names[int(np.argmin(present))] if len(labels) else None
        raise DataError(
            f"The {name} split must have rows of"
            f" {'each class' if number == 0 else 'two classes or more'}; with"
            f" {' and '.join(columns) or 'its file'} it has no row"
            f"{f' of {missing!r}' if missing else ''}. Name another column, give another seed, or"
            " merge classes."
        )


def unweighted(target: Target, labels: Labels, weights: npt.NDArray[np.float32]) -> str | None:
    """Return which of the rows for training all have the weight 0, such as "rows of 'good'"."""
    weighted = labels[weights > 0]
    if not len(weighted):
        return "rows"
    # A label may have no row among the training rows of a fold.
    counts = zip(target.names, target.counts(labels), target.counts(weighted), strict=True)
    return next((f"rows of {name!r}" for name, n, n_used in counts if n and not n_used), None)


def _n_shared(rows: Rows, parts: Parts, drawn: Sequence[str]) -> int:
    """Return the number of rows before a given split whose group is in this split too."""
    n_shared, groups = 0, rows.groups
    for number, name in enumerate(SPLITS[1:], start=1):
        if groups is not None and name not in drawn:
            before = (parts >= 0) & (parts < number)
            n_shared = max(n_shared, int(np.isin(groups[before], groups[parts == number]).sum()))
    return n_shared


def _start_of(frame: pd.DataFrame, rows: Rows, is_in_part: npt.NDArray[np.bool_]) -> str:
    # A group counts by its last row, so the first row of a part says little.
    if rows.times is None or rows.groups is not None:
        return ""
    places = np.flatnonzero(is_in_part)
    return f" (from {frame['time'].iloc[places[rows.times[places].argmin()]].strip()})"


def _sentence(
    kind: SplitKind, config: DataConfig, starts: Mapping[str, str], *, n_shared: int
) -> str:
    """`starts`: the first time of each drawn split, as " (from 2026)", or an empty text."""
    drawn = [*starts]
    order = ", then ".join([SPLITS[0], *(f"{name}{start}" for name, start in starts.items())])
    sentence = kind.SENTENCE.format(group=config.group_column, time=config.time_column, order=order)
    if config.group_column and config.time_column:
        sentence = f"{sentence} A {config.group_column} counts with the time of its last row."
    if drawn == [*SPLITS[1:]]:
        return sentence
    source = f"by the column {config.split_column}" if config.split_column else "by their files"
    given_to = f"The rows were split {source}."
    if n_shared:
        given_to += (
            f" {n_shared:,} rows have the {config.group_column} of a row in a later split, so the"
            f" accuracy with a new {config.group_column} may be lower."
        )
    if not drawn and config.time_column:
        return f"{given_to} All splits are given, so {config.time_column} has no effect."
    if not drawn:
        return given_to
    # The kind of split says nothing of the rows that were given.
    sentence = f"{sentence[0].lower()}{sentence[1:]}"
    return (
        f"{given_to} The rows of {drawn[0]} were drawn from those of train. In these two,"
        f" {sentence}"
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
    """
    # ASCII texts are folded all at once, in half the time. The other texts are folded one by one
    # before, and folding them again changes nothing.
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
    # Studies store the fingerprint: what is digested for given data must never change, so the kind
    # of target, groups, times and weights are digested only where a study has them.
    digest = hashlib.sha256(repr(target.names).encode())
    if target.kind != DEFAULT_TARGET:
        digest.update(target.kind.encode())
    for name, frame in frames.items():
        for part in (
            name.encode(),
            byte_lengths(frame["text"]).tobytes(),
            labels_in(frame).astype(target.dtype).tobytes(),
        ):
            digest.update(part)
        for column in ("text", *(role for role in ("group", "time") if role in frame)):
            for chunk in split_up(frame[column]):
                digest.update(joined(chunk, end=b""))
        if "weight" in frame:
            digest.update(frame["weight"].to_numpy().tobytes())
    return digest.hexdigest()[:16]
