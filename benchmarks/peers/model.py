"""The texts, datasets and model that both Keras peers share, in stock Keras.

Where several ways were possible, this code uses the way that favors the peers: texts are vectorized
once for each trial, not once for each epoch; `tf.data` prefetches; validation batches have 512
texts, as in this program; and TensorFlow uses the whole machine (its default threads).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.configurations import BATCH_SIZE, DROPOUT
from benchmarks.texts import Texts

VALIDATION_BATCH_SIZE = 512


def vectorized(
    texts: Texts, *, vocab_size: int, sequence_length: int, seed: int
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Return training and validation batches of ids, from one call of a `TextVectorization` layer
    that is adapted on the training texts.
    """
    layer = keras.layers.TextVectorization(
        max_tokens=vocab_size, output_sequence_length=sequence_length
    )
    layer.adapt(np.array(texts.train, dtype=object))
    train = tf.data.Dataset.from_tensor_slices(
        (layer(tf.constant(texts.train)), texts.train_labels)
    )
    validation = tf.data.Dataset.from_tensor_slices(
        (layer(tf.constant(texts.validation)), texts.validation_labels)
    )
    shuffled = (
        train.shuffle(len(texts.train), seed=seed).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
    )
    return shuffled, validation.batch(VALIDATION_BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def masked_lstm(
    *, vocab_size: int, embedding_dim: int, lstm_units: int, learning_rate: float
) -> Any:
    """Return the model of all sides, compiled."""
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
