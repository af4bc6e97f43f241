"""One trial's view of a corpus: token ids, limited to `vocab_size` and `sequence_length`, in
batches.

The texts of a training batch are drawn at random. If the model masks the padding, each batch is
padded to its own longest text and sorted with the longest text first, and the LSTM kernel skips the
padding (`kernels.lstm_numba`). Batches of texts of similar length would contain little padding
without a kernel, but they lower the accuracy: by 0.0025 ± 0.0011, 0.0088 ± 0.0029 and -0.0009 ±
0.0013 for a `sequence_length` of 200, 160 and 100 (mean and standard error of six seeds, the best
of three epochs, Amazon reviews). If the model does not mask the padding, every batch has
`sequence_length` columns.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tuning.data.corpus import TokenizedTexts
from tuning.data.tokenizer import FIRST_WORD_ID, PADDING_ID, UNKNOWN_ID

EVALUATION_BATCH_SIZE = 512

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """Texts with one trial's vocabulary and length.

    Args:
        texts: the texts with the token ids of the whole vocabulary.
        vocab_size: number of token ids, with padding (0) and unknown words (1).
        sequence_length: maximum number of tokens of a text that are kept.
        truncating: which end of a long text is dropped, as in `keras.utils.pad_sequences`: "pre"
            drops the beginning (Keras' default), "post" the end (as `TextVectorization` does).
        trims: whether a batch is padded to its longest text instead of `sequence_length`.

    Raises:
        ValueError: `vocab_size < 3`, `sequence_length < 1` or another `truncating`.
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
        if self.truncating not in ("pre", "post"):
            raise ValueError(f"truncating must be 'pre' or 'post'; received {self.truncating!r}.")

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each text that are kept, int64 array of shape (n_texts,)."""
        return np.minimum(self.texts.lengths, self.sequence_length)

    def width(self, rows: Rows) -> int:
        """Return the number of columns of a batch of these rows."""
        if not self.trims:
            return self.sequence_length
        return max(int(self.lengths_of(rows).max(initial=1)), 1)

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the number of tokens of these rows that are kept, int64 array (n_rows,)."""
        lengths: npt.NDArray[np.int64] = self.texts.offsets[rows + 1] - self.texts.offsets[rows]
        return np.minimum(lengths, self.sequence_length)

    def batch(self, rows: Rows) -> npt.NDArray[np.int32]:
        """Return the token ids of these rows, int32 array of shape (n_rows, width).

        Ids of `vocab_size` or more become 1 (unknown). Texts are padded after their end with 0.
        """
        lengths = self.lengths_of(rows)
        starts = (
            self.texts.offsets[rows + 1] - lengths
            if self.truncating == "pre"
            else self.texts.offsets[rows]
        )
        columns = np.arange(self.width(rows))
        inside = columns < lengths[:, None]
        if not len(self.texts.ids):
            return np.zeros(inside.shape, dtype=np.int32)
        ids = self.texts.ids[np.where(inside, starts[:, None] + columns, 0)]
        return np.where(
            inside, np.where(ids < self.vocab_size, ids, UNKNOWN_ID), PADDING_ID
        ).astype(np.int32)

    def array(self) -> npt.NDArray[np.int32]:
        """Return the token ids of all texts, int32 array of shape (n_texts, width)."""
        return self.batch(np.arange(len(self.texts)))


def training_batches(view: View, *, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Return the rows of each batch of one epoch.

    Every row occurs once, in an order that is drawn from `seed` and `epoch`. If the view trims, the
    rows of a batch are sorted with the longest text first.

    Raises:
        ValueError: `batch_size < 1`.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; received {batch_size}.")
    rows = np.random.default_rng([seed, epoch]).permutation(len(view.texts))
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return (
        [batch[np.argsort(-view.lengths_of(batch), kind="stable")] for batch in batches]
        if view.trims
        else batches
    )


def evaluation_batches(view: View) -> list[Rows]:
    """Return the rows of batches of `EVALUATION_BATCH_SIZE` texts. Every row occurs once, in order
    of length if the view trims, and in the order of the texts otherwise.
    """
    rows = np.argsort(view.lengths, kind="stable") if view.trims else np.arange(len(view.texts))
    return [
        rows[start : start + EVALUATION_BATCH_SIZE]
        for start in range(0, len(rows), EVALUATION_BATCH_SIZE)
    ]


def padding_share(view: View, batches: list[Rows]) -> float:
    """Return the share of padding among all ids of these batches, with the padding that a kernel
    skips.
    """
    n_ids = sum(view.width(rows) * len(rows) for rows in batches)
    return 1 - float(view.lengths.sum()) / n_ids if n_ids else 0.0
