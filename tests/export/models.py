"""A tiny corpus, and untrained models of it whose probabilities differ between texts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tuning.data.splits import SplitReviews
from tuning.export.parity import HOSTILE_TEXTS
from tuning.inputs.corpus import Corpus
from tuning.models import lstm_classifier, ngram_classifier

# The model has so many rows because LiteRT does not round tensors of fewer than 1,024 numbers to
# int8.
LENGTH, ROWS = 9, 300
WIDTH = 4


@dataclass(frozen=True)
class Reviews:
    """The tiny corpus, and the texts on which every format is tried."""

    splits: SplitReviews
    corpus: Corpus

    @property
    def texts(self) -> list[str]:
        return [*HOSTILE_TEXTS, *self.splits.frames["test"]["text"]]


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
    recurrent = dropout if kind == "baseline" else 0.0
    sizes = {"vocab_size": ROWS, "embedding_dim": WIDTH, "lstm_units": 3}
    masked = kind == "masked"
    return spread(
        lstm_classifier(
            **sizes,
            dropout=dropout,
            recurrent_dropout=recurrent,
            masked=masked,
            n_classes=n_classes,
        )
    )


def labels_of(reviews: Reviews) -> Any:
    return reviews.splits.frames["test"]["label"].to_numpy()


def ngram_layers(*layers: keras.layers.Layer) -> keras.Model:
    """Return a chain of layers for n-grams, which ends with the probability of class 1."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="ngrams"),
            *layers,
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def words_and_ngrams(*, words_first: bool) -> keras.Model:
    """Return a model of token ids, of which the padding is masked, and n-grams."""
    words = keras.Input((None,), dtype="int32", name="words")
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    x = keras.layers.LSTM(3)(keras.layers.Embedding(ROWS, WIDTH, mask_zero=True)(words))
    bag = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(ROWS, WIDTH)(ngrams))
    inputs = [words, ngrams] if words_first else [ngrams, words]
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Concatenate()([x, bag]))
    return keras.Model(inputs, outputs)


def embedding(*, masked: bool) -> keras.layers.Layer:
    return keras.layers.Embedding(ROWS, WIDTH, mask_zero=masked)


NGRAM_MODELS: dict[str, Callable[[], keras.Model]] = {
    "log-count ratios": lambda: ngram_classifier(vocab_size=ROWS),
    "maximum": lambda: ngram_layers(embedding(masked=False), keras.layers.GlobalMaxPooling1D()),
    "LSTM": lambda: ngram_layers(embedding(masked=True), keras.layers.LSTM(3)),
    "words and n-grams": lambda: words_and_ngrams(words_first=True),
    "n-grams and words": lambda: words_and_ngrams(words_first=False),
}
