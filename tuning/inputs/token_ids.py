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

    def describe(self, values: Values) -> dict[str, Any]:
        return {name: int(values[name]) for name in self.hyperparameters}

    def vocabulary(self, corpus: Corpus, inputs: ModelInput) -> list[str]:
        return corpus.words(inputs.vocab_size)

    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        return {}  # Every text has token ids (`corpus.encode`).

    def layers(self, text: Any, vocabulary: Any, inputs: ModelInput) -> Any:
        from tuning.inputs.keras_layers import token_ids

        return token_ids(
            text,
            vocabulary,
            sequence_length=inputs.sequence_length,
            truncating=inputs.truncating,
        )

    def words(self, folder: Path, inputs: ModelInput) -> set[bytes]:
        return words_of(folder / self.file, inputs.vocab_size)
