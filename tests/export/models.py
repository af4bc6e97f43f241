"""A tiny corpus, and untrained models of it whose probabilities differ between texts."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.styles import STYLES
from tuning.data.splits import SplitReviews
from tuning.documents import unstructure
from tuning.export import formats
from tuning.export.manifest import WrittenFormats
from tuning.export.parity import HOSTILE_TEXTS
from tuning.export.writers import Source, with_encoder
from tuning.inputs.corpus import Corpus
from tuning.models import (
    bilstm_features,
    cnn_features,
    gru_features,
    lstm_classifier,
    ngram_classifier,
    words_classifier,
)
from tuning.spaces.ranges import Values
from tuning.targets.classes import Classes
from tuning.targets.labels import MultiLabel
from tuning.targets.number import Number
from tuning.targets.order import Order
from tuning.targets.target import Array, Target
from tuning.training.architecture import ensure_built
from tuning.training.loss_form import form_of_loss

LENGTH, ROWS = 9, 300
WIDTH = 4
TWO_CLASSES, FIVE_CLASSES = (
    Classes(tuple(f"class {number}" for number in range(n_classes))) for n_classes in (2, 5)
)


@dataclass(frozen=True)
class Reviews:
    """The tiny corpus, and the texts on which every format is tried."""

    splits: SplitReviews
    corpus: Corpus

    @property
    def texts(self) -> list[str]:
        return [*HOSTILE_TEXTS, *self.test_texts]

    @property
    def test_texts(self) -> list[str]:
        return [str(text) for text in self.splits.frames["test"]["text"]]


def write_formats(
    folder: Path,
    source: Source,
    reviews: Reviews,
    *,
    expect: Callable[[list[str]], Array] | None = None,
) -> WrittenFormats:
    """Write every format, as an export does, and return the formats that passed their checks."""
    texts = reviews.test_texts
    with formats.write_formats(folder, source, test_texts=texts, expect=expect) as compare:
        pass
    return compare()


# This code predicts with an export as its card describes, in a process without Keras and without
# the study.
ALONE = """
import json, sys
for module in ("tuning", "tensorflow", "keras", "keras_hub", "keras_tuner", "optuna"):
    sys.modules[module] = None
import numpy as np, onnxruntime
from tokenizer import load_tokenizer
inputs = load_tokenizer(".")(json.load(sys.stdin))
arrays = {name: np.array(rows, dtype=np.int32) for name, rows in inputs.items()}
session = onnxruntime.InferenceSession("model.onnx")
print(json.dumps(session.run(["probabilities"], arrays)[0].tolist()))
"""


def predicted_alone(folder: Path, source: Source, texts: list[str]) -> Any:
    """Return the output of the ONNX file of a source, with the tokenizer beside the file."""
    inputs = unstructure(with_encoder(source).inputs)
    # This is the part of the manifest that the tokenizer reads.
    (folder / "export.json").write_text(json.dumps({"input": inputs}))
    streams: dict[str, Any] = {"input": json.dumps(texts), "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=folder, **streams, check=False)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout))


def spread(model: keras.Model) -> keras.Model:
    """Enlarge the weights, so that different ids give different probabilities; return the model."""
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.8, w.shape) for w in model.get_weights()])
    return model


def bidirectional(*, n_classes: int, dropout: float = 0.0) -> keras.Model:
    text = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(ROWS, WIDTH, mask_zero=True)(text)
    x = keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True, dropout=dropout))(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(text, keras.layers.Dense(n_classes, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def build(kind: str, dropout: float, n_classes: int) -> keras.Model:
    if kind == "bidirectional":
        return spread(bidirectional(n_classes=n_classes, dropout=dropout))
    return spread(
        lstm_classifier(
            vocab_size=ROWS,
            embedding_dim=WIDTH,
            lstm_units=3,
            dropout=dropout,
            recurrent_dropout=dropout if kind == "baseline" else 0.0,
            masked=kind == "masked",
            n_classes=n_classes,
        )
    )


def embedding(*, masked: bool) -> keras.layers.Layer:
    return keras.layers.Embedding(ROWS, WIDTH, mask_zero=masked)


def stacked(*layers: keras.layers.Layer, reads: str | None = None) -> keras.Model:
    """Return a chain of layers for an input with this name."""
    return keras.Sequential([keras.Input((None,), dtype="int32", name=reads), *layers])


def ngram_layers(*layers: keras.layers.Layer) -> keras.Model:
    """Return a chain of layers for n-grams, which ends with the probability of class 1."""
    return stacked(*layers, keras.layers.Dense(1, activation="sigmoid"), reads="ngrams")


def words_and_ngrams(*, words_first: bool) -> keras.Model:
    """Return a model of token ids, of which the padding is masked, and n-grams."""
    words = keras.Input((None,), dtype="int32", name="words")
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    x = keras.layers.LSTM(3)(keras.layers.Embedding(ROWS, WIDTH, mask_zero=True)(words))
    bag = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(ROWS, WIDTH)(ngrams))
    inputs = [words, ngrams] if words_first else [ngrams, words]
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Concatenate()([x, bag]))
    return keras.Model(inputs, outputs)


NGRAM_MODELS: dict[str, Callable[[], keras.Model]] = {
    "log-count ratios": lambda: ngram_classifier(vocab_size=ROWS),
    "unit length": lambda: ngram_classifier(vocab_size=ROWS, unit_length=True),
    "maximum": lambda: ngram_layers(embedding(masked=False), keras.layers.GlobalMaxPooling1D()),
    "LSTM": lambda: ngram_layers(embedding(masked=True), keras.layers.LSTM(3)),
    "words and n-grams": lambda: words_and_ngrams(words_first=True),
    "n-grams and words": lambda: words_and_ngrams(words_first=False),
}


class Logits(keras.Model):
    """A subclassed model of logits."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.head = keras.layers.Dense(n_outputs)
        self.embed = embedding(masked=False)
        self.pool = keras.layers.GlobalMaxPooling1D()

    def call(self, ids: Any) -> Any:
        return self.head(self.pool(self.embed(ids)))


class NumbersAlone(Logits):
    """A subclassed model that Keras can't trace as layers."""

    def call(self, ids: Any) -> Any:
        return super().call(tf.cast(ids, tf.int32))


def sequential(n_outputs: int) -> keras.Model:
    return stacked(embedding(masked=True), keras.layers.LSTM(3), keras.layers.Dense(n_outputs))


def in_a_row(n_outputs: int) -> keras.Model:
    """Return a model whose output has the shape (batch, 1, n_outputs)."""
    ids = keras.Input((LENGTH,), dtype="int32")
    x = keras.layers.GlobalMaxPooling1D(keepdims=True)(embedding(masked=False)(ids))
    return keras.Model(ids, [keras.layers.Dense(n_outputs)(x)])


# Models of logits, with their number of outputs.
LOGITS: dict[str, tuple[Callable[[int], keras.Model], int]] = {
    "one logit": (sequential, 1),
    "two logits": (sequential, 2),
    "logits in a row": (in_a_row, 1),
    "subclassed model of logits": (Logits, 2),
    "model that is not traceable": (NumbersAlone, 1),
}


def model_of_logits(name: str) -> keras.Model:
    make, n_outputs = LOGITS[name]
    model, losses = make(n_outputs), keras.losses
    loss = losses.BinaryCrossentropy if n_outputs == 1 else losses.SparseCategoricalCrossentropy
    model.compile("adam", loss(from_logits=True))
    return model


SIZES = {"vocab_size": ROWS, "embedding_dim": WIDTH, "word_dropout": 0.2}
CLASSIFIERS: dict[str, Callable[[], keras.Model]] = {
    "cnn": lambda: words_classifier(partial(cnn_features, **SIZES, filters=3)),
    "bilstm_pooling": lambda: words_classifier(partial(bilstm_features, **SIZES, lstm_units=3)),
    "gru": lambda: words_classifier(partial(gru_features, **SIZES, gru_units=3)),
}


def pooled(head: keras.layers.Dense, loss: str) -> keras.Model:
    model = stacked(embedding(masked=False), keras.layers.GlobalMaxPooling1D(), head)
    model.compile("adam", loss)
    return model


# The targets of the models of `KINDS` that predict something else than one of two classes.
TARGETS: dict[str, Target] = {
    "masked, five classes": FIVE_CLASSES,
    "several labels": MultiLabel(("a", "b", "c")),
    "ordered classes": Order(("1", "2", "3")),
    "a number": Number(),
}
# The models of which every format is written: those that differ in what the writers do, and one for
# each kind of target.
KINDS: dict[str, Callable[[], keras.Model]] = {
    "masked, five classes": lambda: build("masked", 0.3, 5),
    **{
        style.__name__: partial(style, masked=number % 2 > 0) for number, style in enumerate(STYLES)
    },
    **{name: partial(model_of_logits, name) for name in [*LOGITS][2:]},
    **{name: CLASSIFIERS[name] for name in ("cnn", "bilstm_pooling")},
    **{name: NGRAM_MODELS[name] for name in ("unit length", "LSTM", "words and n-grams")},
    "several labels": lambda: pooled(keras.layers.Dense(3, "sigmoid"), "binary_crossentropy"),
    "ordered classes": lambda: pooled(keras.layers.Dense(3, "softmax"), "categorical_crossentropy"),
    "a number": lambda: pooled(keras.layers.Dense(1), "mse"),
}
VALUES: Values = {"vocab_size": ROWS, "sequence_length": LENGTH, "truncating": "pre"}
NGRAM_VALUES: Values = {**VALUES, "truncating": "middle", "ngrams": 2, "ngram_vocab_size": ROWS}


def source_of(
    model: keras.Model, corpus: Corpus, values: Values = VALUES, *, target: Target = TWO_CLASSES
) -> Source:
    """Return the source of the exports of a model. A model without a loss gives probabilities."""
    ensure_built(model, sequence_length=LENGTH)
    form = form_of_loss(spread(model), target, sequence_length=LENGTH)
    return Source(model, values, corpus, target, form.to_probabilities)
