"""Models in the styles of public hypermodels. Each function takes `masked` and returns a compiled
model for token ids below 30.
"""

from collections.abc import Callable
from typing import Any

import keras

layers = keras.layers
ROWS, WIDTH = 30, 4


def lazy_sequential(*, masked: bool) -> keras.Model:
    """Return a model made with `Sequential()` and `add`, without `keras.Input`."""
    model = keras.Sequential()
    model.add(layers.Embedding(ROWS, WIDTH, mask_zero=masked))
    model.add(layers.LSTM(3, dropout=0.2))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


class Classifier(keras.Model):
    """A subclassed model whose layers are built at its first call."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.embedding = layers.Embedding(ROWS, WIDTH, mask_zero=masked)
        self.lstm = layers.LSTM(3)
        self.drop = layers.Dropout(0.3)
        self.head = layers.Dense(2, activation="softmax")

    def call(self, ids: Any, training: bool = False) -> Any:
        return self.head(self.drop(self.lstm(self.embedding(ids)), training=training))


def subclassed(*, masked: bool) -> keras.Model:
    model = Classifier(masked)
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def functional(*, masked: bool) -> keras.Model:
    """Return a functional model with one-hot labels and metrics that need them."""
    ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(ROWS, WIDTH, mask_zero=masked)(ids)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    outputs = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(ids, outputs)
    metrics = ["accuracy", keras.metrics.Precision(), keras.metrics.Recall()]
    model.compile(
        optimizer=keras.optimizers.Adam(0.01, use_ema=True),
        loss="categorical_crossentropy",
        metrics=metrics,
    )
    return model


STYLES: tuple[Callable[..., keras.Model], ...] = (lazy_sequential, subclassed, functional)
