"""Encoder tokens: the tokens of a pretrained encoder's own tokenizer, cut to a trial's length."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tuning.config import is_keras_file
from tuning.errors import SpaceError, StorageError
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
    kept_ids,
)

if TYPE_CHECKING:
    from tuning.inputs.corpus import Corpus
    from tuning.inputs.preset import PresetCard
    from tuning.spaces.loading import SearchSpace

# Maximum number of texts of a batch of a pretrained encoder, whose attention needs memory for each
# pair of tokens: 0.2 GB at 256 tokens and 12 heads.
ENCODER_BATCH_SIZE = 64


@dataclass(frozen=True)
class PresetTexts(IdTexts):
    """The tokens of n texts by a preset's tokenizer, the ids plus 1, without the special tokens
    before (`first`) and after (`last`) each text.
    """

    first: tuple[int, ...]
    last: tuple[int, ...]


@dataclass(frozen=True)
class TokenView(InputView):
    """The tokens of texts with their special tokens, which `sequence_length` includes, cut to one
    trial's length. Every batch is padded to its longest text, because an encoder masks the padding.
    """

    texts: PresetTexts
    sequence_length: int
    truncating: str = "pre"
    has_padding: ClassVar[bool] = True
    is_encoder: ClassVar[bool] = True

    @property
    def _n_special(self) -> int:
        return len(self.texts.first) + len(self.texts.last)

    @property
    def _room(self) -> int:
        """Maximum number of tokens of a text without special tokens."""
        return self.sequence_length - self._n_special

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return np.minimum(self.texts.lengths_of(rows), self._room) + self._n_special

    def width(self, rows: Rows) -> int:
        return int(self.lengths_of(rows).max(initial=1))

    def batch(self, rows: Rows) -> npt.NDArray[np.int32]:
        first, last = self.texts.first, self.texts.last
        kept = self.lengths_of(rows) - self._n_special
        n_columns = int(kept.max(initial=0))
        ids, inside = kept_ids(
            self.texts,
            rows,
            n_max=self._room,
            truncating=self.truncating,
            n_columns=n_columns,
        )
        batch = np.zeros((len(rows), self.width(rows)), dtype=np.int32)
        batch[:, : len(first)] = first
        batch[:, len(first) : len(first) + n_columns][inside] = ids
        for number, token in enumerate(last):
            batch[np.arange(len(rows)), len(first) + kept + number] = token
        return batch


class EncoderTokens(Input):
    """An input named "tokens". A space may have several presets, each with its own tokens."""

    name = key = "tokens"
    hyperparameters = ("preset", "sequence_length")
    declared_by = "preset"
    what = "the tokens of a preset"
    is_cut = varies = True
    file = "tokenizer.json"

    def is_taken_by(self, space: SearchSpace) -> bool:
        return bool(space.presets)

    def key_in(self, values: Values) -> str:
        return f"{self.key} of {values.get('preset')}"

    def prepare(self, data: Preparation) -> None:
        from tuning.inputs.preset_tokens import build_tokens

        def texts() -> dict[str, list[str]]:
            return {name: frame["text"].tolist() for name, frame in data.splits().frames.items()}

        for preset in data.space.presets:
            if is_keras_file(preset):
                if not data.space.declares("feature_length"):
                    raise SpaceError(
                        f"preset must have a tokenizer for the tokens that {data.space.name} takes;"
                        f" {preset!r} is a Keras model, which takes texts."
                        " Choose the space frozen_encoder."
                    )
                continue
            card = build_tokens(data.corpus, preset, texts=texts, progress=data.progress)
            _check_lengths(data.space, card)

    def stored(self, corpus: Corpus, split: str) -> dict[str, Stored]:
        from tuning.inputs.preset import PRESET_CARD_NAME
        from tuning.inputs.preset_tokens import map_tokens

        stored: dict[str, Stored] = {}
        for path in sorted(corpus.presets_dir.glob(f"*/{PRESET_CARD_NAME}")):
            with contextlib.suppress(OSError, ValueError, EOFError, StorageError):
                card, tokens = map_tokens(path.parent, split)
                stored[self.key_in({"preset": card.name})] = tokens
        return stored

    def view(
        self, texts: TokenizedTexts, values: Values, *, shape: Shape, ignores_padding: bool
    ) -> InputView:
        what = f"the tokens of the preset {values['preset']!r}"
        return TokenView(
            texts.other(self.key_in(values), PresetTexts, what=what),
            sequence_length=int(values["sequence_length"]),
            truncating=str(values.get("truncating", "pre")),
        )

    def is_in(self, inputs: ModelInput) -> bool:
        return bool(inputs.preset)

    def describe(self, values: Values) -> dict[str, Any]:
        return {
            "preset": str(values["preset"]),
            "sequence_length": int(values["sequence_length"]),
        }

    def vocabulary(self, corpus: Corpus, inputs: ModelInput) -> Path:
        from tuning.inputs.preset_tokens import tokens_dir

        return tokens_dir(corpus, inputs.preset) / self.file

    def write(self, vocabulary: Any, folder: Path) -> None:
        shutil.copyfile(vocabulary, folder / self.file)

    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        from tuning.inputs.preset_tokens import encode_tokens

        return {self.key_in({"preset": inputs.preset}): encode_tokens(vocabulary, texts)}


def _check_lengths(space: SearchSpace, card: PresetCard) -> None:
    smallest = len(card.first) + len(card.last) + 1
    largest = card.max_length or 2**31
    for item in space.hyperparameters:
        lengths = item.choices or [item.default, *(b for b in (item.low, item.high) if b)]
        for length in lengths if item.name in ("sequence_length", "feature_length") else []:
            if not smallest <= float(length) <= largest:
                raise SpaceError(
                    f"{item.name} must be from {smallest} to {largest} for the preset"
                    f" {card.name!r}; {space.name} allows {length}. Copy the space and change its"
                    " range."
                )
