"""Token ids: the words of a text as numbers, limited to a trial's vocabulary and length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tuning.inputs.contract import (
    IdTexts,
    Input,
    InputView,
    ModelInput,
    Rows,
    Shape,
    Stored,
    TokenizedTexts,
    Values,
    kept_ids,
    words_of,
)
from tuning.inputs.tokenizer import UNKNOWN_ID

if TYPE_CHECKING:
    from tuning.inputs.corpus import Corpus
    from tuning.spaces.loading import SearchSpace


@dataclass(frozen=True)
class WordView(InputView):
    """The token ids of texts, with one trial's vocabulary and length.

    Args:
        texts: the texts with the token ids of the whole vocabulary.
        vocab_size: number of token ids, with padding (0) and unknown words (1), which greater ids
            become.
        truncating: the part of a long text that is dropped. "pre" is the beginning, "post" the end,
            as in `keras.utils.pad_sequences` (whose default is "pre"); "middle" is the middle.
        pads_to_longest: whether a batch is padded to its longest text instead of `sequence_length`.
    """

    texts: IdTexts
    vocab_size: int
    sequence_length: int
    truncating: str = "pre"
    pads_to_longest: bool = False
    has_padding: ClassVar[bool] = True

    @property
    def shape(self) -> Shape:
        return (None if self.pads_to_longest else self.sequence_length,)

    def width(self, rows: Rows) -> int:
        if not self.pads_to_longest:
            return self.sequence_length
        return int(self.lengths_of(rows).max(initial=1))

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return np.minimum(self.texts.lengths_of(rows), self.sequence_length)

    def batch(self, rows: Rows) -> npt.NDArray[np.int32]:
        ids, inside = kept_ids(
            self.texts,
            rows,
            n_max=self.sequence_length,
            truncating=self.truncating,
            n_columns=self.width(rows),
        )
        batch = np.zeros(inside.shape, dtype=np.int32)
        batch[inside] = np.where(ids < self.vocab_size, ids, UNKNOWN_ID)
        return batch


class TokenIds(Input):
    """An input with any name that is not the name of another kind."""

    name = "ids"
    hyperparameters = ("vocab_size", "sequence_length")
    what = "token ids"
    stands_beside = is_cut = has_layers = True
    file = "vocabulary.txt"

    def is_taken_by(self, space: SearchSpace) -> bool:
        return not space.takes_texts

    def view(
        self, texts: TokenizedTexts, values: Values, *, shape: Shape, ignores_padding: bool
    ) -> InputView:
        return WordView(
            texts,
            vocab_size=int(values["vocab_size"]),
            sequence_length=int(values["sequence_length"]),
            truncating=str(values.get("truncating", "pre")),
            pads_to_longest=ignores_padding,
        )

    def is_in(self, inputs: ModelInput) -> bool:
        return inputs.vocab_size > 0

    def vocabulary(self, corpus: Corpus, inputs: ModelInput) -> list[str]:
        return corpus.words(inputs.vocab_size)

    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        return {}  # Every text has token ids (`corpus.encode`).

    def layers(self, text: Any, vocabulary: Any, inputs: ModelInput) -> Any:
        import keras

        length, truncating = inputs.sequence_length, inputs.truncating
        ids = keras.layers.TextVectorization(
            vocabulary=vocabulary,
            output_sequence_length=length if truncating == "post" else None,
            name="tokenize",
        )(text)
        return ids if truncating == "post" else without_excess(ids, length, truncating)

    def words(self, folder: Path, inputs: ModelInput) -> set[bytes]:
        return words_of(folder / self.file, inputs.vocab_size)


def without_excess(ids: Any, sequence_length: int, truncating: str) -> Any:
    """Return at most `sequence_length` ids of each row, int32 (batch, sequence_length), with 0
    after them. `truncating` is the part of a longer text that is dropped. The id 0 must be only
    after the texts.
    """
    import keras

    ops = keras.ops
    n_last = {"pre": sequence_length, "middle": sequence_length // 2, "post": 0}[truncating]
    n_first = sequence_length - n_last
    ids = ops.pad(ids, [[0, 0], [0, sequence_length]])
    lengths = ops.sum(ops.cast(ops.not_equal(ids, 0), "int32"), axis=1, keepdims=True)
    missing = ops.minimum(ops.subtract(sequence_length, lengths), 0)
    columns = np.arange(sequence_length, dtype=np.int32)[None, :]
    # The columns from `n_first` on contain the ids that follow the excess of the row.
    later = (columns >= n_first).astype(np.int32)
    positions = ops.subtract(columns, ops.multiply(missing, later))
    return ops.cast(ops.take_along_axis(ids, positions, axis=1), "int32")
