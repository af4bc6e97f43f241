"""One trial's view of a corpus: ids cut to `vocab_size` and `sequence_length`, in batches.

Training batches are drawn at random. For a model that masks the padding each is padded to its own
longest text, and has its longest first, so that the LSTM's kernel leaves the padding out
(`kernels.lstm_numba`). Batches of similar length need no kernel for that, but cost accuracy: 0.0025
± 0.0011, 0.0088 ± 0.0029 and -0.0009 ± 0.0013 with length 200, 160 and 100 (mean and standard error
of six seeds, the best of three epochs, Amazon reviews). A model that does not mask sees exactly the
padding it asks for: always `sequence_length` columns.
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
    """Texts as one trial sees them.

    `truncating` says which end of a long text is dropped, as in `keras.utils.pad_sequences`: "pre"
    drops its beginning (the notebook's default), "post" its end (`TextVectorization`'s). `trims`:
    pad to the batch's longest text, not to `sequence_length`.

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
        """Tokens of each text that are kept, int64 array (n_texts,)."""
        return np.minimum(self.texts.lengths, self.sequence_length)

    def width(self, rows: Rows) -> int:
        """Columns of the batch of these rows."""
        if not self.trims:
            return self.sequence_length
        return max(int(self.lengths_of(rows).max(initial=1)), 1)

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        lengths: npt.NDArray[np.int64] = self.texts.offsets[rows + 1] - self.texts.offsets[rows]
        return np.minimum(lengths, self.sequence_length)

    def batch(self, rows: Rows) -> npt.NDArray[np.int32]:
        """Ids of these rows, int32 array (n_rows, width), padded after the text with 0; words
        beyond the vocabulary are 1.
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
        """Ids of all texts, int32 array (n_texts, width)."""
        return self.batch(np.arange(len(self.texts)))


def training_batches(view: View, *, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """The rows of each batch of one epoch: every row once, in random order; the longest texts of a
    batch first if the view trims.

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
    """The rows of large batches in order of length: every row once."""
    rows = np.argsort(view.lengths, kind="stable") if view.trims else np.arange(len(view.texts))
    return [
        rows[start : start + EVALUATION_BATCH_SIZE]
        for start in range(0, len(rows), EVALUATION_BATCH_SIZE)
    ]


def padding_share(view: View, batches: list[Rows]) -> float:
    """The share of padding among all ids that these batches hold, what a kernel leaves out of it
    included.
    """
    cells = sum(view.width(rows) * len(rows) for rows in batches)
    return 1 - float(view.lengths.sum()) / cells if cells else 0.0
