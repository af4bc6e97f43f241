"""Features: what a pretrained encoder that is not trained gives for a text, computed once: the mean
of its vectors of the tokens, or, without the last layers, which a trial trains, the vectors. A
Keras model gives one vector for a text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tuning.config import is_keras_file
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
from tuning.inputs.texts import Texts

if TYPE_CHECKING:
    from tuning.inputs.corpus import Corpus

# The part of a long text that an encoder does not read. Both ends tell more than one of them (Sun
# et al. 2019, "How to Fine-Tune BERT for Text Classification?").
TRUNCATING = "middle"
# The hyperparameter with the number of an encoder's last layers that a trial trains.
TRAINED_LAYERS = "trained_layers"


@dataclass(frozen=True)
class FeatureTexts:
    """The features of n texts. Those of text i are `lengths[i]` vectors of the array
    `parts[part_of[i]]`, from `starts[i]`.

    Attributes:
        parts: float32 (n_vectors, width), on memory maps: rows and sums of texts copy no vectors.
        part_of, starts, lengths: int64 (n,).
    """

    parts: tuple[npt.NDArray[np.float32], ...]
    part_of: Rows
    starts: Rows
    lengths: Rows

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32], lengths: Rows) -> Self:
        return cls((vectors,), np.zeros_like(lengths), np.cumsum(lengths) - lengths, lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.parts + other.parts,
            np.concatenate([self.part_of, other.part_of + len(self.parts)]),
            np.concatenate([self.starts, other.starts]),
            np.concatenate([self.lengths, other.lengths]),
        )

    def rows(self, rows: Rows) -> Self:
        kept = {name: getattr(self, name)[rows] for name in ("part_of", "starts", "lengths")}
        return replace(self, **kept)

    @property
    def n_columns(self) -> int:
        return int(self.parts[0].shape[1])

    def of_text(self, row: int) -> npt.NDArray[np.float32]:
        part, start = self.parts[self.part_of[row]], self.starts[row]
        vectors: npt.NDArray[np.float32] = part[start : start + self.lengths[row]]
        return vectors

    def batch(self, rows: Rows, *, length: int) -> npt.NDArray[np.float32]:
        """Return the vectors of these rows, (n_rows, length, n_columns), and zeros after them."""
        batch = np.zeros((len(rows), length, self.n_columns), dtype=np.float32)
        for vectors, row in zip(batch, rows, strict=True):
            vectors[: self.lengths[row]] = self.of_text(row)
        return batch


@dataclass(frozen=True)
class MeanView(InputView):
    """The means of the vectors of texts, which all trials with one preset and length share."""

    texts: FeatureTexts
    dtype: ClassVar[str] = "float32"

    @property
    def shape(self) -> Shape:
        return (self.texts.n_columns,)

    def lengths_of(self, rows: Rows) -> Rows:
        return self.texts.lengths[rows]

    def width(self, rows: Rows) -> int:
        return self.texts.n_columns

    def batch(self, rows: Rows) -> npt.NDArray[np.float32]:
        return self.texts.batch(rows, length=1)[:, 0]


@dataclass(frozen=True)
class VectorView(MeanView):
    """The vectors of the tokens of texts, which all trials with one preset and length share, and
    as many trained layers. A batch is padded to its longest text.
    """

    has_padding: ClassVar[bool] = True
    is_encoder: ClassVar[bool] = True

    @property
    def shape(self) -> Shape:
        return (None, self.texts.n_columns)

    def width(self, rows: Rows) -> int:
        return int(self.lengths_of(rows).max(initial=1))

    def batch(self, rows: Rows) -> npt.NDArray[np.float32]:
        return self.texts.batch(rows, length=self.width(rows))

    def n_bytes(self, rows: Rows) -> int:
        return super().n_bytes(rows) * self.texts.n_columns


class Features(Input):
    """An input named "features". An export has the encoder below the model, and takes tokens, or
    texts if the encoder is a Keras model.
    """

    name = key = "features"
    hyperparameters = ("preset", "feature_length")
    declared_by = "feature_length"
    what = "the features of a preset"

    def key_in(self, values: Values) -> str:
        if is_keras_file(values.get("preset")):  # It has no maximum length.
            return f"{self.key} of {values['preset']}"
        length, layers = int(values.get(self.declared_by, 0)), int(values.get(TRAINED_LAYERS, 0))
        below = f" below the last {layers} layers" if layers else ""
        return f"{self.key} of {values.get('preset')}, {length} tokens{below}"

    def prepare(self, data: Preparation) -> None:
        from tuning.inputs.preset_features import build_features

        numbers: dict[str, set[int]] = {}
        for item in data.space.hyperparameters:
            if item.name in (self.declared_by, TRAINED_LAYERS):
                if item.low is not None:
                    raise SpaceError(
                        f"{item.name} must be an hp.Fixed or an hp.Choice, because features are"
                        f" computed for each value; {data.space.name} has an {item.kind} from a"
                        " range."
                    )
                choices = map(int, item.choices or [item.default])
                numbers.setdefault(item.name, set()).update(choices)
        for preset in data.space.presets if self.is_taken_by(data.space) else []:
            lengths = sorted(numbers[self.declared_by])
            if is_keras_file(preset):
                Texts().build(data)
                lengths = [0]
            for length in lengths:
                below = 0
                # The vectors below the last layers come first: the others are made from them.
                for layers in sorted(numbers.get(TRAINED_LAYERS, {0}), reverse=True):
                    build_features(
                        data.corpus,
                        preset,
                        length=length,
                        trained_layers=layers,
                        below=below,
                        progress=data.progress,
                    )
                    below = layers

    def stored(self, corpus: Corpus, split: str) -> dict[str, Stored]:
        from tuning.inputs.preset_features import map_features

        stored: dict[str, Stored] = {}
        # The names end with a number; those of unfinished folders and of locks do not.
        for folder in sorted(corpus.features_dir.glob("*[0-9]")):
            with contextlib.suppress(OSError, ValueError, EOFError, StorageError):
                card, features = map_features(corpus, folder, split)
                stored[self.key_in(card.values)] = features
        return stored

    def view(
        self, texts: TokenizedTexts, values: Values, *, shape: Shape, ignores_padding: bool
    ) -> InputView:
        preset = str(values["preset"])
        what = f"the features of the preset {preset!r}"
        stored = texts.other(self.key_in(values), FeatureTexts, what=what)
        view = VectorView(stored) if values.get(TRAINED_LAYERS) else MeanView(stored)
        if shape not in ((), view.shape):
            raise SpaceBug(
                f"The input named 'features' must have the shape {view.shape}, which ends with the"
                f" width of the preset {preset!r}; this input has the shape {shape}. Take the width"
                " from encoder_width(preset) of tuning.models.",
            )
        return view

    def example(
        self, values: Values, *, shape: Shape, n_rows: int, n_tokens: int
    ) -> npt.NDArray[Any]:
        # Zeros would be padding.
        return np.ones((n_rows, *(size or n_tokens for size in shape)), dtype=np.float32)

    def is_in(self, inputs: ModelInput) -> bool:
        return False

    def describe(self, values: Values) -> dict[str, Any]:
        preset, layers = str(values["preset"]), int(values.get(TRAINED_LAYERS, 0))
        described = {"preset": preset, TRAINED_LAYERS: layers}
        if is_keras_file(preset):
            return described
        length = int(values["feature_length"])
        return {**described, "sequence_length": length, "truncating": TRUNCATING}

    def vocabulary(self, corpus: Corpus, inputs: ModelInput) -> Any:
        return EncoderTokens().vocabulary(corpus, inputs)

    def layers(self, text: Any, vocabulary: Any, inputs: ModelInput) -> Any:
        # Here `text` is the tokens of texts, which a Keras model takes itself: an export has the
        # encoder below the model.
        from tuning.models.transformer import frozen_encoder

        return frozen_encoder(inputs.preset, without=inputs.trained_layers)(text)

    def encode(
        self, texts: Sequence[str], vocabulary: Any, inputs: ModelInput
    ) -> dict[str, Stored]:
        from tuning.inputs.preset_features import encode_features

        card, features = encode_features(texts, vocabulary, inputs)
        return {self.key_in(card.values): features}
