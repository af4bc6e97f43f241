"""The texts, datasets and model that both Keras peers share, in stock Keras.

Where several ways were possible, this code uses the way that favors the peers: texts are vectorized
once for each trial, not once for each epoch; `tf.data` prefetches; validation batches have 512
texts, as in this program; and TensorFlow uses the whole machine (its default threads).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from benchmarks.configurations import BATCH_SIZE, DROPOUT
from tuning.data.splits import SplitReviews

VALIDATION_BATCH_SIZE = 512


def vectorized(
    splits: SplitReviews, *, vocab_size: int, sequence_length: int, seed: int
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    layer = keras.layers.TextVectorization(
        max_tokens=vocab_size, output_sequence_length=sequence_length
    )
    train, validation = splits.frames["train"], splits.frames["validation"]
    layer.adapt(train["text"].to_numpy(object))
    batches, evaluated = (
        tf.data.Dataset.from_tensor_slices(
            (layer(tf.constant(frame["text"].to_numpy(object))), frame["label"].to_numpy("int64"))
        )
        for frame in (train, validation)
    )
    shuffled = batches.shuffle(len(train), seed=seed).batch(BATCH_SIZE)
    return (
        shuffled.prefetch(tf.data.AUTOTUNE),
        evaluated.batch(VALIDATION_BATCH_SIZE).prefetch(tf.data.AUTOTUNE),
    )


def masked_lstm(
    *, vocab_size: int, embedding_dim: int, lstm_units: int, learning_rate: float
) -> Any:
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int64"),
            keras.layers.Embedding(vocab_size, embedding_dim, mask_zero=True),
            keras.layers.LSTM(lstm_units, dropout=DROPOUT),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
    )
    return model
