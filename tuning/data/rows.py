"""What decides how rows may be split: equal texts, strata, groups and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from tuning.config import given

Numbers = npt.NDArray[np.int64]
Parts = npt.NDArray[np.int8]
LEFT_OUT = -1  # the part of a row that is in no part


@dataclass(frozen=True)
class Rows:
    """The rows of a data set as numbers, each int64 (n_rows,): rows with the same number have the
    same text, stratum (such as a class), group or time. Times are ranks. `is_learned` is whether
    the weight of each row is above 0, bool (n_rows,); only rows with classes and weights have it.
    """

    texts: Numbers
    strata: Numbers
    groups: Numbers | None = None
    times: Numbers | None = None
    is_learned: npt.NDArray[np.bool_] | None = None

    @property
    def kind(self) -> str:
        """The kind of split, in `tuning.data.splits`, that keeps times or groups."""
        return "time" if self.times is not None else "random" if self.groups is None else "group"

    @property
    def observations(self) -> Numbers:
        """The rows that a bootstrap draws together, as numbers, int64 (n_rows,): those of a group;
        without groups, or with a single one, those with the same text.
        """
        if self.groups is None:
            return self.texts
        _, groups, counts = np.unique(self.groups, return_inverse=True, return_counts=True)
        if len(counts) == 1:
            return self.texts
        # A row without a group is alone in its group: it is drawn with the copies of its text.
        return np.where(counts[groups] > 1, groups, len(groups) + self.texts)

    def at(self, places: Numbers) -> Rows:
        return Rows(**{name: part[places] for name, part in given(**vars(self)).items()})


@dataclass(frozen=True, kw_only=True)
class Redraw:
    """A split of the rows of the training and the validation split into folds, or with one fold
    into new ones.
    """

    seed: int
    n_folds: int = 1

    @classmethod
    def into_folds(cls, *, seed: int, n_folds: int) -> Self | None:
        """Return the folds of a study, or None if it has one split."""
        return cls(seed=seed, n_folds=n_folds) if n_folds > 1 else None


def parts_of_blocks(sizes: Numbers, shares: Sequence[float]) -> Parts:
    """Return the part of each block of rows, in order, int8 (n_blocks,). No block is divided: it is
    in the part in which its middle lies, and each part has a block. There must be as many blocks as
    parts, or more.
    """
    n_blocks, inner = len(sizes), np.arange(1, len(shares))
    cuts = np.cumsum(shares)[:-1] * sizes.sum()
    first = np.searchsorted(np.cumsum(sizes) - sizes / 2, cuts)  # the first block of a later part
    # A large block may contain several cuts: each later part begins at least one block after the
    # part before it, and leaves a block for each part after it.
    first = np.maximum.accumulate(np.maximum(first, inner) - inner) + inner
    first = np.minimum(first, n_blocks - len(shares) + inner)
    return np.searchsorted(first, np.arange(n_blocks), side="right").astype(np.int8)
