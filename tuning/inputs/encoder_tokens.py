"""One trial's view of the tokens of a preset."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tuning.inputs.corpus import PresetTexts

Rows = npt.NDArray[np.int64]

# Number of batches whose texts are drawn together and then put into batches by length.
GROUP_BATCHES = 32


@dataclass(frozen=True)
class TokenView:
    """The tokens of texts with their special tokens, cut to one trial's length.

    Every batch is padded to its longest text, because a pretrained encoder masks the padding.
    `sequence_length` includes the special tokens; `truncating` is the part of a long text that is
    dropped: "pre" the beginning, "post" the end, "middle" the middle.
    """

    texts: PresetTexts
    sequence_length: int
    truncating: str = "pre"
    fixed_width: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self._room < 1:
            raise ValueError(
                f"sequence_length must be more than the {self._n_special} special tokens of each"
                f" text; received {self.sequence_length}."
            )
        if self.truncating not in ("pre", "post", "middle"):
            raise ValueError(
                f"truncating must be 'pre', 'post' or 'middle'; received {self.truncating!r}."
            )

    @property
    def _n_special(self) -> int:
        return len(self.texts.first) + len(self.texts.last)

    @property
    def _room(self) -> int:
        """Maximum number of tokens of a text without special tokens."""
        return self.sequence_length - self._n_special

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each text that are kept, int64 array of shape (n_texts,)."""
        return self.lengths_of(np.arange(len(self.texts)))

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the number of tokens of these rows that are kept, int64 array (n_rows,)."""
        lengths: npt.NDArray[np.int64] = self.texts.offsets[rows + 1] - self.texts.offsets[rows]
        return np.minimum(lengths, self._room) + self._n_special

    def width(self, rows: Rows) -> int:
        return max(int(self.lengths_of(rows).max(initial=1)), 1)

    def batch(self, rows: Rows) -> npt.NDArray[np.int32]:
        """Return the tokens of these rows, int32 array of shape (n_rows, width), padded with 0
        after each text.
        """
        first, last = self.texts.first, self.texts.last
        kept = self.lengths_of(rows) - self._n_special
        starts, n_columns = self.texts.offsets[rows], int(kept.max(initial=0))
        places, inside = kept_places(
            starts,
            self.texts.offsets[rows + 1] - starts,
            n_max=self._room,
            truncating=self.truncating,
            n_columns=n_columns,
        )
        batch = np.zeros((len(rows), self.width(rows)), dtype=np.int32)
        batch[:, : len(first)] = first
        batch[:, len(first) : len(first) + n_columns][inside] = self.texts.ids[places[inside]]
        for number, token in enumerate(last):
            batch[np.arange(len(rows)), len(first) + kept + number] = token
        return batch


def kept_places(
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    *,
    n_max: int,
    truncating: str,
    n_columns: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the place of the token in each column of a batch whose texts are cut to `n_max`
    tokens, and whether the column has a token: arrays of shape (n_texts, n_columns).

    `starts` and `lengths` are the place of the first token and the number of tokens of each text,
    int64 (n_texts,).
    """
    kept, columns = np.minimum(lengths, n_max), np.arange(n_columns)
    places = starts[:, None] + columns
    if truncating != "post":
        first = 0 if truncating == "pre" else n_max - n_max // 2
        places += np.where(columns >= first, (lengths - kept)[:, None], 0)
    return places, columns < kept[:, None]


def by_length(
    rows: Rows,
    lengths_of: Callable[[Rows], npt.NDArray[np.int64]],
    *,
    batch_size: int,
    draw: np.random.Generator,
) -> list[Rows]:
    """Return batches of rows with similar lengths, in random order: groups of `GROUP_BATCHES`
    batches are sorted by length before they are cut into batches.
    """
    groups = cut(rows, GROUP_BATCHES * batch_size)
    batches = [
        batch
        for group in groups
        for batch in cut(group[np.argsort(lengths_of(group), kind="stable")], batch_size)
    ]
    return [batches[number] for number in draw.permutation(len(batches))]


def cut(rows: Rows, size: int) -> list[Rows]:
    """Return the rows in parts of `size` rows; the last part may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
