"""Features: what a pretrained encoder that is not trained gives for a text, computed once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tuning.errors import SpaceBug, SpaceError, StorageError
from tuning.inputs.contract import (
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
from tuning.inputs.encoder_tokens import EncoderTokens

if TYPE_CHECKING:
    from tuning.inputs.corpus import Corpus

# The part of a long text that an encoder does not read. Both ends tell more than one of them (Sun
# et al. 2019, "How to Fine-Tune BERT for Text Classification?").
TRUNCATING = "middle"


@dataclass(frozen=True)
class FeatureTexts:
    """The features of n texts, float32 (n, width)."""

    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def __add__(self, other: Self) -> Self:
        return type(self)(np.concatenate([self.values, other.values]))

    def rows(self, rows: Rows) -> Self:
        return type(self)(self.values[rows])


@dataclass(frozen=True)
class FeatureView(InputView):
    """The features of texts, which all trials with one preset and length share."""

    texts: FeatureTexts
    dtype: ClassVar[str] = "float32"

    @property
    def fixed_width(self) -> int:
        return int(self.texts.values.shape[1])

    def lengths_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        return np.ones(len(rows), dtype=np.int64)

    def width(self, rows: Rows) -> int:
        return self.fixed_width

    def batch(self, rows: Rows) -> npt.NDArray[np.float32]:
        return self.texts.values[rows]


class Features(Input):
    """An input named "features". An export has the encoder below the model, and takes tokens."""

    name = key = "features"
    hyperparameters = ("preset", "feature_length")
    declared_by = "feature_length"
    what = "the features of a preset"

    def key_in(self, values: Values) -> str:
        length = int(values.get(self.declared_by, 0))
        return f"{self.key} of {values.get('preset')}, {length} tokens"

    def prepare(self, data: Preparation) -> None:
        from tuning.inputs.preset_features import build_features

        items = [item for item in data.space.hyperparameters if item.name == self.declared_by]
        if ranges := [item.kind for item in items if item.low is not None]:
            raise SpaceError(
                f"{self.declared_by} must be an hp.Fixed or an hp.Choice, because features are"
                f" computed for each length; {data.space.name} has an {ranges[0]} from a range."
            )
        lengths = {int(length) for item in items for length in item.choices or [item.default]}
        for preset in data.space.presets if self.is_taken_by(data.space) else []:
            for length in sorted(lengths):
                build_features(data.corpus, preset, length=length, progress=data.progress)

    def stored(self, corpus: Corpus, split: str) -> dict[str, Stored]:
        from tuning.inputs.preset_features import map_features

        stored: dict[str, Stored] = {}
        # The names end with the length; unfinished folders have other names.
        for folder in sorted(corpus.features_dir.glob("*[0-9]")):
            with contextlib.suppress(OSError, ValueError, StorageError):
                card, values = map_features(corpus, folder, split)
                key = self.key_in({"preset": card.preset, self.declared_by: card.length})
                stored[key] = FeatureTexts(values)
        return stored

    def view(
        self, texts: TokenizedTexts, values: Values, *, shape: Shape, ignores_padding: bool
    ) -> InputView:
        preset, stored = str(values["preset"]), texts.others.get(self.key_in(values))
        if not isinstance(stored, FeatureTexts):
            raise StorageError(
                "The cache of the tokenized data must contain the features of the preset"
                f" {preset!r}, which were removed. Search again to build them."
            )
        view = FeatureView(stored)
        if shape not in ((), view.shape):
            raise SpaceBug(
                f"The input named 'features' must have the shape {view.shape}, the width of the"
                f" preset {preset!r}; this input has the shape {shape}. Take the width from"
                " encoder_width(preset) of tuning.models.",
                traceback="",
            )
        return view

    def example(
        self, values: Values, *, shape: Shape, n_rows: int, n_tokens: int
    ) -> npt.NDArray[Any]:
        return np.zeros((n_rows, *(size or 1 for size in shape)), dtype=np.float32)

    def is_in(self, inputs: ModelInput) -> bool:
        return False

    def describe(self, values: Values) -> dict[str, Any]:
        return {
            "preset": str(values["preset"]),
            "sequence_length": int(values["feature_length"]),
            "truncating": TRUNCATING,
        }

    def vocabulary(self, corpus: Corpus, inputs: ModelInput) -> Any:
        return EncoderTokens().vocabulary(corpus, inputs)

    def layers(self, text: Any, vocabulary: Any, inputs: ModelInput) -> Any:
        """Return the features of the symbolic tensor of a text's tokens."""
        from tuning.models.transformer import frozen_encoder

        return frozen_encoder(inputs.preset)(text)

    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        from tuning.inputs.preset_features import encode_features

        preset, length = inputs.preset, inputs.sequence_length
        features = encode_features(preset, vocabulary, texts, length=length)
        key = self.key_in({"preset": preset, self.declared_by: length})
        return {key: FeatureTexts(features)}
