"""One trial's view of a corpus: token ids, limited to `vocab_size` and `sequence_length`, the
n-grams of the texts, the tokens of a preset, and the texts themselves, in batches.

The texts of a training batch are drawn at random. If the model masks the padding, each batch is
padded to its own longest text and sorted with the longest text first, and the padding is not
computed (`kernels.recurrent_numba`, `padding.packing`). Batches of texts of similar length would
contain little padding, but they lower the accuracy: by 0.0025 ± 0.0011, 0.0088 ± 0.0029 and
-0.0009 ± 0.0013 for a `sequence_length` of 200, 160 and 100 (mean and standard error of six seeds,
the best of three epochs, Amazon reviews). Other models get batches of `sequence_length` columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tuning.inputs.corpus import NgramTexts, TokenizedTexts
from tuning.inputs.encoder_tokens import TokenView, by_length, cut, kept_places
from tuning.inputs.texts import TextView
from tuning.inputs.tokenizer import FIRST_WORD_ID, PADDING_ID, UNKNOWN_ID

EVALUATION_BATCH_SIZE = 512
# The attention of an encoder needs memory for each pair of tokens.
ENCODER_BATCH_SIZE = 64

TRUNCATING = ("pre", "post", "middle")

_T = TypeVar("_T")
Rows = npt.NDArray[np.int64]
Batch = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class WordView:
    """The token ids of texts, with one trial's vocabulary and length.

    Args:
        texts: the texts with the token ids of the whole vocabulary.
        vocab_size: number of token ids, with padding (0) and unknown words (1).
        truncating: the part of a long text that is dropped. "pre" is the beginning, "post" the end,
            as in `keras.utils.pad_sequences` (whose default is "pre"); "middle" is the middle.
        trims: whether a batch is padded to its longest text instead of `sequence_length`.
    """

    texts: TokenizedTexts
    vocab_size: int
    sequence_length: int
    truncating: str = "pre"
    trims: bool = False

    def __post_init__(self) -> None:
        if self.vocab_size <= FIRST_WORD_ID:
            raise ValueError(
                "vocab_size must be 3 or more: padding, unknown and a word; received"
                f" {self.vocab_size}."
            )
        if self.sequence_length < 1:
            raise ValueError(f"sequence_length must be 1 or more; received {self.sequence_length}.")
        if self.truncating not in TRUNCATING:
            raise ValueError(
                f"truncating must be one of {', '.join(map(repr, TRUNCATING))}; received"
                f" {self.truncating!r}."
            )

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each text that are kept, int64 array of shape (n_texts,)."""
        return np.minimum(self.texts.lengths, self.sequence_length)

    @property
    def fixed_width(self) -> int | None:
        """The number of columns of every batch; None if it differs."""
        return None if self.trims else self.sequence_length

    def width(self, rows: Rows) -> int:
        return self.fixed_width or max(int(self.lengths_of(rows).max(initial=1)), 1)

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return np.minimum(_lengths_of(self.texts, rows), self.sequence_length)

    def batch(self, rows: Rows) -> npt.NDArray[np.int32]:
        """Return the token ids of these rows, int32 array of shape (n_rows, width).

        Ids of `vocab_size` or more become 1 (unknown). Texts are padded after their end with 0.
        """
        places, inside = kept_places(
            self.texts.offsets[rows],
            _lengths_of(self.texts, rows),
            n_max=self.sequence_length,
            truncating=self.truncating,
            n_columns=self.width(rows),
        )
        if not len(self.texts.ids):
            return np.zeros(inside.shape, dtype=np.int32)
        ids = self.texts.ids[np.where(inside, places, 0)]
        return np.where(
            inside, np.where(ids < self.vocab_size, ids, UNKNOWN_ID), PADDING_ID
        ).astype(np.int32)


@dataclass(frozen=True)
class NgramView:
    """The distinct n-grams of texts, with one trial's vocabulary.

    Args:
        texts: the n-grams with the ids of the whole vocabulary.
        order: maximum number of words of an n-gram, 1 to 3.
        vocab_size: number of n-gram ids, with padding (0) and unknown (1).
    """

    texts: NgramTexts
    order: int
    vocab_size: int
    fixed_width: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.vocab_size <= FIRST_WORD_ID:
            raise ValueError(
                "ngram_vocab_size must be 3 or more: padding, unknown and an n-gram; received"
                f" {self.vocab_size}."
            )
        if self.order not in (1, 2, 3):
            raise ValueError(f"ngrams must be 1, 2 or 3 words; received {self.order}.")

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Upper bound of the number of n-grams of each text, int64 array of shape (n_texts,)."""
        return self.texts.lengths

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return _lengths_of(self.texts, rows)

    @cached_property
    def _ids(self) -> npt.NDArray[np.int32]:
        """The id in this vocabulary of each id of the whole vocabulary; 0 if it has none."""
        is_kept = (self.texts.orders > 0) & (self.texts.orders <= self.order)
        ids = np.where(is_kept, np.cumsum(is_kept) + FIRST_WORD_ID - 1, 0)
        return np.where(ids < self.vocab_size, ids, 0).astype(np.int32)

    def width(self, rows: Rows) -> int:
        _, n_kept = self._kept(rows)
        return int(n_kept.max(initial=0)) + 1

    def batch(self, rows: Rows) -> npt.NDArray[np.int32]:
        """Return the n-grams of these rows, int32 array of shape (n_rows, width): ascending ids,
        then 0. The width is one more than the number of n-grams of any row, so that every row ends
        with padding: a maximum over the columns must not depend on whether a text is the longest.
        """
        ids, n_kept = self._kept(rows)
        batch = np.zeros((len(rows), int(n_kept.max(initial=0)) + 1), dtype=np.int32)
        row_of = np.repeat(np.arange(len(rows)), n_kept)
        column = np.arange(len(row_of)) - np.repeat(np.cumsum(n_kept) - n_kept, n_kept)
        batch[row_of, column] = ids
        return batch

    def _kept(self, rows: Rows) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Return the n-grams of these rows that the vocabulary contains, row after row, and their
        number in each row.
        """
        lengths = self.lengths_of(rows)
        starts = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(self.texts.offsets[rows] - starts, lengths)
        ids = self._ids[self.texts.ids[places]]
        is_kept = ids != 0
        row_of = np.repeat(np.arange(len(rows)), lengths)[is_kept]
        return ids[is_kept], np.bincount(row_of, minlength=len(rows))


@dataclass(frozen=True)
class View:
    """Texts as a model takes them: a view of the texts for each of its inputs, by name.

    A model with one input gets arrays, a model with several inputs gets dictionaries of arrays.
    """

    inputs: Mapping[str, WordView | NgramView | TokenView | TextView]

    def __len__(self) -> int:
        return len(self._first.texts)

    @property
    def _first(self) -> WordView | NgramView | TokenView | TextView:
        # Keras orders the inputs of a dictionary by name, "ngrams" before "tokens".
        return max(self.inputs.values(), key=lambda view: isinstance(view, TokenView))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of a preset, or of ids in the first input, int64 (n_texts,)."""
        return self._first.lengths

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self._first.lengths_of(rows)

    @property
    def trims(self) -> bool:
        """Whether the width of a batch depends on its texts."""
        return None in [view.fixed_width for view in self.inputs.values()]

    @property
    def sorts(self) -> bool:
        """Whether training batches are sorted with the longest text first, for the kernel."""
        return self._first.fixed_width is None and isinstance(self._first, WordView)

    @property
    def is_grouped(self) -> bool:
        """Whether training batches have similar lengths: an encoder computes the padding too."""
        return isinstance(self._first, TokenView)

    @property
    def evaluation_batch_size(self) -> int:
        return ENCODER_BATCH_SIZE if self.is_grouped else EVALUATION_BATCH_SIZE

    def batch(self, rows: Rows) -> Batch:
        """Return the model's input for these rows: int32 arrays (n_rows, width), or texts."""
        return as_input({name: view.batch(rows) for name, view in self.inputs.items()})

    def array(self) -> Batch:
        return self.batch(np.arange(len(self)))

    @property
    def array_bytes(self) -> int:
        """The size of `array()`, whose rows are all as wide as the longest row."""
        if isinstance(self._first, TextView):
            return self._first.n_bytes
        n_columns = sum(view.width(np.arange(len(self))) for view in self.inputs.values())
        return len(self) * n_columns * np.dtype(np.int32).itemsize


def as_input(parts: dict[str, _T]) -> dict[str, _T] | _T:
    """Return the part itself for a model with one input, else the dictionary."""
    return parts if len(parts) > 1 else next(iter(parts.values()))


def _lengths_of(texts: TokenizedTexts, rows: Rows) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = texts.offsets[rows + 1] - texts.offsets[rows]
    return lengths


def training_batches(view: View, *, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Return the rows of each batch of one epoch.

    Every row occurs once, in an order that is drawn from `seed` and `epoch`. If the view sorts, the
    rows of a batch are in order of length, with the longest text first. If the view is grouped, the
    texts of a batch have similar lengths (`by_length`).
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; received {batch_size}.")
    draw = np.random.default_rng([seed, epoch])
    rows = draw.permutation(len(view))
    if view.is_grouped:
        return by_length(rows, view.lengths_of, batch_size=batch_size, draw=draw)
    batches = cut(rows, batch_size)
    return (
        [batch[np.argsort(-view.lengths_of(batch), kind="stable")] for batch in batches]
        if view.sorts
        else batches
    )


def evaluation_batches(view: View, rows: Rows | None = None) -> list[Rows]:
    """Return batches of these rows for an evaluation, by default of every row, in order of length
    if the view trims, and in the given order otherwise.
    """
    rows = np.arange(len(view)) if rows is None else rows
    if view.trims:
        rows = rows[np.argsort(view.lengths_of(rows), kind="stable")]
    return cut(rows, view.evaluation_batch_size)


def in_order(view: View) -> list[Rows]:
    return cut(np.arange(len(view)), view.evaluation_batch_size)
