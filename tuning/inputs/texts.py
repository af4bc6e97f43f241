"""Texts: a model that takes the texts themselves, and splits them into words with Keras' layers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tuning.config import is_keras_file
from tuning.errors import SpaceBug
from tuning.inputs.contract import (
    IdTexts,
    Input,
    InputView,
    ModelInput,
    Preparation,
    Rows,
    Shape,
    Stored,
    TokenizedTexts,
    Values,
)

if TYPE_CHECKING:
    from tuning.inputs.corpus import Corpus
    from tuning.spaces.loading import SearchSpace

logger = logging.getLogger(__name__)

FILE = "texts.bin"


@dataclass(frozen=True)
class SplitTexts(IdTexts):
    """The texts of a split: their `ids` are the bytes in UTF-8, uint8 (n_bytes,)."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        encoded = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        texts = np.empty(len(rows), dtype=object)
        for number, row in enumerate(rows.tolist()):
            start, end = self.offsets[row], self.offsets[row + 1]
            texts[number] = self.ids[start:end].tobytes().decode()
        return texts


@dataclass(frozen=True)
class TextView(InputView):
    """Texts as input of a model that tokenizes them itself. A batch has the shape (n_rows, 1) if
    `is_column`, otherwise (n_rows,).
    """

    texts: IdTexts
    raw: SplitTexts
    is_column: bool
    dtype: ClassVar[str] = "string"

    @property
    def shape(self) -> Shape:
        return (1,) if self.is_column else ()

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return self.texts.lengths_of(rows)

    def width(self, rows: Rows) -> int:
        return 1

    def n_bytes(self, rows: Rows) -> int:
        # A string of Python 3.11 has 49 bytes beside its characters if all are ASCII, and about 75
        # otherwise.
        return int(self.raw.lengths_of(rows).sum()) + 64 * len(rows)

    def batch(self, rows: Rows) -> npt.NDArray[np.object_]:
        texts = self.raw.take(rows)
        return texts[:, None] if self.is_column else texts


def map_texts(folder: Path, split: str) -> SplitTexts:
    from tuning.inputs.arrow_tokenizer import map_ids

    return SplitTexts(*map_ids(folder / split, file=FILE, dtype=np.uint8))


class Texts(Input):
    """An input of strings, with any name. Keras allows no input with the name of this kind."""

    name, key = "the text/", "texts"
    what = "the texts themselves"

    def is_taken_by(self, space: SearchSpace) -> bool:
        return space.takes_texts

    def prepare(self, data: Preparation) -> None:
        if data.space.takes_texts:
            self.build(data)

    def build(self, data: Preparation) -> None:
        # Imported here because predictions, which import this module, build no folder.
        from tuning.config import SPLITS
        from tuning.data.folders import build_once
        from tuning.data.text_bytes import byte_lengths, joined, split_up
        from tuning.inputs.arrow_tokenizer import save_ids

        def write(folder: Path) -> None:
            read = data.splits()
            for number, name in enumerate(SPLITS):
                if data.progress:
                    data.progress("storing the texts", number / len(SPLITS))
                chunks = (
                    (np.frombuffer(joined(chunk, end=b""), np.uint8), byte_lengths(chunk))
                    for chunk in split_up(read.frames[name]["text"])
                )
                save_ids(folder / name, chunks, file=FILE)
            logger.info("stored the texts of %s", data.corpus.fingerprint)

        build_once(data.corpus.texts_dir, write)

    def stored(self, corpus: Corpus, split: str) -> dict[str, Stored]:
        with contextlib.suppress(OSError, ValueError, EOFError):
            return {self.key: map_texts(corpus.texts_dir, split)}
        return {}

    def view(
        self, texts: TokenizedTexts, values: Values, *, shape: Shape, ignores_padding: bool
    ) -> InputView:
        raw = texts.others.get(self.key)
        if not isinstance(raw, SplitTexts):
            raise SpaceBug(
                "The texts of the data are stored before a search only if a model of the space"
                " takes them when the space is loaded; this configuration's model takes texts, and"
                " they are not stored. Name keras.layers.TextVectorization in the file of the"
                " space, and let the model of the defaults take texts.",
            )
        return TextView(texts, raw, is_column=len(shape) > 0)

    def example(
        self, values: Values, *, shape: Shape, n_rows: int, n_tokens: int
    ) -> npt.NDArray[Any]:
        texts = np.full(n_rows, " ".join(["unknown"] * n_tokens), dtype=object)
        return texts[:, None] if shape else texts

    def is_in(self, inputs: ModelInput) -> bool:
        return inputs.takes_texts

    def describe(self, values: Values) -> dict[str, Any]:
        if not is_keras_file(values.get("preset")):
            return {}
        # The values of an export (`values_of`), whose head has an encoder below it.
        return {item.name: values[item.name] for item in fields(ModelInput) if item.name in values}

    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        return {self.key: SplitTexts.of(texts)}
