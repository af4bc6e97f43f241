"""Graphs of operations that ignore the padding, graphs that read it, random graphs, and a count of
the batches that are packed.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tuning.models.words import drop_words, is_word, max_over_words, mean_over_words, zero_padding
from tuning.padding.packing import join

layers, ops = keras.layers, keras.ops
ROWS, WIDTH = 9, 3
IDS = np.array([[2, 3, 4, 5, 6], [5, 0, 0, 0, 0], [1, 7, 8, 0, 0], [0] * 5], dtype=np.int32)


def over(
    body: Callable[[Any, Any], Any],
    *,
    mask_zero: bool = False,
    rate: float = 0.0,
    batch_size: int | None = None,
) -> keras.Model:
    """Return a model of `body`, a function from vectors and `is_word` to a row for each text."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), batch_size, dtype="int32")
    x = layers.Embedding(ROWS, WIDTH, mask_zero=mask_zero)(drop_words(ids, rate))
    return keras.Model(ids, layers.Dense(2, activation="softmax")(body(x, is_word(ids))))


def convolution(activation: str | None = "relu", **options: Any) -> layers.Layer:
    return layers.Conv1D(4, 3, **{"padding": "same", "activation": activation, **options})


def both_ways(**options: Any) -> layers.Layer:
    return layers.Bidirectional(layers.LSTM(2, return_sequences=True, **options))


def reversing() -> layers.Layer:
    return layers.LSTM(2, go_backwards=True, return_sequences=True)


def masked(*stack: layers.Layer, length: int | None = None) -> keras.Model:
    """Return a chain of layers after an embedding that masks the padding."""
    embedding = layers.Embedding(ROWS, WIDTH, mask_zero=True)
    return keras.Sequential([keras.Input((length,), dtype="int32"), embedding, *stack])


def with_initial_state(x: Any, words: Any) -> Any:
    """Start an LSTM with the states of another; Keras then does not pass the mask on."""
    sequence, *states = layers.LSTM(2, return_sequences=True, return_state=True)(x)
    return layers.LSTM(2)(sequence, initial_state=states)


def with_another_mask() -> keras.Model:
    ids = keras.Input((None,), dtype="int32")
    x = layers.Embedding(ROWS, WIDTH, mask_zero=True)(ids)
    return keras.Model(ids, layers.LSTM(2)(x, mask=ops.not_equal(ids, 1)))


def with_own(name: str, owner: Any, part: str = "") -> Any:
    """Set a method on a layer or a model itself, or on a part of it."""
    changed = getattr(owner, part) if part else owner
    setattr(changed, name, getattr(changed, name))
    return owner


def with_own_cell() -> layers.Layer:
    layer = layers.LSTM(2)
    layer.cell = type("Own", (layers.LSTMCell,), {})(2)
    return layer


PADDING_IS_IGNORED: dict[str, Callable[[], keras.Model]] = {
    "mean": lambda: over(mean_over_words),
    "mean with dropped words": lambda: over(mean_over_words, rate=0.3),
    "sum of products": lambda: over(lambda x, w: ops.sum(x * ops.cast(w, "float32"), axis=1)),
    "sum over the last axis but one": lambda: over(
        lambda x, w: ops.sum(zero_padding(x, w), axis=-2)
    ),
    "convolution": lambda: over(
        lambda x, w: max_over_words(convolution()(zero_padding(x, w)), w, lowest=0.0)
    ),
    "causal convolution": lambda: over(
        lambda x, w: mean_over_words(
            convolution(None, padding="causal", dilation_rate=2)(zero_padding(x, w)), w
        )
    ),
    "two convolutions": lambda: over(
        lambda x, w: mean_over_words(
            convolution()(zero_padding(convolution()(zero_padding(x, w)), w)), w
        )
    ),
    "maximum of an LSTM": lambda: over(
        lambda x, w: max_over_words(both_ways()(x), w, lowest=-1.0), mask_zero=True
    ),
    "maximum above a bound": lambda: over(
        lambda x, w: ops.max(ops.where(w, ops.maximum(x, -0.2), -0.2), axis=1)
    ),
    "LSTM after dropped words": lambda: over(
        lambda x, w: layers.LSTM(2)(x), mask_zero=True, rate=0.3
    ),
    "rows side by side": lambda: over(
        lambda x, w: layers.Concatenate()(
            [mean_over_words(x, w), ops.sum(ops.cast(w, "float32"), axis=1)]
        )
    ),
    "LSTM that reads backwards": lambda: over(
        lambda x, w: layers.LSTM(2, go_backwards=True)(x), mask_zero=True
    ),
    "LSTM of an LSTM": lambda: over(
        lambda x, w: layers.LSTM(2)(
            layers.LSTM(2, return_sequences=True)(layers.SpatialDropout1D(0.2)(x))
        ),
        mask_zero=True,
    ),
    "states of an LSTM": lambda: over(
        lambda x, w: layers.LSTM(2, return_state=True)(x)[1], mask_zero=True
    ),
}
PADDING_IS_READ: dict[str, Callable[[], keras.Model]] = {
    "sum over all": lambda: over(lambda x, w: ops.sum(x, axis=1)),
    "maximum over all": lambda: over(lambda x, w: ops.max(x, axis=1)),
    "maximum with zeros": lambda: over(lambda x, w: ops.max(zero_padding(x, w), axis=1)),
    "maximum of an LSTM with a padding above its outputs": lambda: over(
        lambda x, w: max_over_words(both_ways()(x), w, lowest=0.0), mask_zero=True
    ),
    "LSTM with another activation": lambda: over(
        lambda x, w: max_over_words(both_ways(activation="linear")(x), w, lowest=-1.0),
        mask_zero=True,
    ),
    "stateful LSTM": lambda: over(
        lambda x, w: layers.LSTM(2, stateful=True)(x), mask_zero=True, batch_size=4
    ),
    "sum of a filling": lambda: over(lambda x, w: ops.sum(ops.where(w, x, -1.0), axis=1)),
    "branches in the other order": lambda: over(lambda x, w: ops.sum(ops.where(w, 0.0, x), axis=1)),
    "convolution over the embedding of the padding": lambda: over(
        lambda x, w: mean_over_words(convolution()(x), w)
    ),
    "convolution over a convolution": lambda: over(
        lambda x, w: mean_over_words(convolution()(convolution()(zero_padding(x, w))), w)
    ),
    "pooling of a convolution with strides": lambda: over(
        lambda x, w: ops.max(convolution(strides=2)(zero_padding(x, w)), axis=1)
    ),
    "convolution without its edges": lambda: over(
        lambda x, w: ops.max(
            layers.Conv1D(4, 2, padding="valid", activation="relu")(zero_padding(x, w)), axis=1
        )
    ),
    "mean with the padding in the count": lambda: over(
        lambda x, w: ops.divide(
            ops.sum(zero_padding(x, w), axis=1), ops.sum(ops.ones_like(x), axis=1)
        )
    ),
    "LSTM without a mask": lambda: over(lambda x, w: layers.LSTM(2)(zero_padding(x, w))),
    "mask that is only sometimes a mask": lambda: over(
        lambda x, w: ops.max(ops.where(ops.greater(x, 0.1), x, -9.0), axis=1)
    ),
    "maximum over the columns": lambda: over(
        lambda x, w: ops.max(ops.where(w, ops.maximum(x, 0.0), 0.0), axis=1, keepdims=True)[:, 0]
    ),
    "initial state": lambda: over(with_initial_state, mask_zero=True),
    "mask that is not of the padding": with_another_mask,
    "noise of a fixed length": lambda: masked(
        layers.Dropout(0.2, noise_shape=(None, 9, 1)), layers.LSTM(2)
    ),
    "fixed length": lambda: masked(layers.LSTM(2), length=9),
    "nested": lambda: over(lambda x, w: keras.Sequential([layers.GlobalMaxPooling1D()])(x)),
    "reversed sequence": lambda: masked(reversing(), layers.LSTM(2)),
    "reversed inside Bidirectional": lambda: masked(
        layers.Bidirectional(reversing(), backward_layer=layers.LSTM(2, return_sequences=True)),
        layers.LSTM(2),
    ),
    "activation over the batch": lambda: masked(
        layers.LSTM(2, recurrent_activation=lambda x: ops.softmax(x, axis=0))
    ),
    "softmax over time": lambda: masked(
        layers.Dense(3, activation=lambda x: ops.softmax(x, axis=1)),
        layers.GlobalAveragePooling1D(),
    ),
    "own call of a layer": lambda: masked(with_own("call", layers.GlobalAveragePooling1D())),
    "own call of a part": lambda: masked(
        with_own("call", layers.Bidirectional(layers.LSTM(2)), "forward_layer")
    ),
    "own call of a graph": lambda: with_own("call", over(mean_over_words)),
    "own call of a chain": lambda: with_own("call", masked(layers.LSTM(2))),
    "own loop over time": lambda: masked(with_own("inner_loop", layers.LSTM(2))),
    "own cell": lambda: masked(with_own_cell()),
    "penalty on outputs": lambda: masked(
        layers.Dense(3, activity_regularizer="l2"), layers.LSTM(2)
    ),
}


STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "dense": lambda x, w: layers.Dense(WIDTH)(x),
    "relu": lambda x, w: layers.Activation("relu")(x),
    "tanh": lambda x, w: layers.Activation("tanh")(x),
    "softmax": lambda x, w: layers.Activation("softmax")(x),
    "convolution": lambda x, w: layers.Conv1D(WIDTH, 2, padding="same")(x),
    "rectified convolution": lambda x, w: layers.Conv1D(
        WIDTH, 3, padding="causal", activation="relu"
    )(x),
    "zeros": zero_padding,
    "fill": lambda x, w: ops.where(w, x, -1.0),
    "swap": lambda x, w: ops.where(w, 1.0, x),
    "where": lambda x, w: ops.where(ops.greater(x, 0), x, -0.5),
    "times mask": lambda x, w: ops.multiply(x, ops.cast(w, "float32")),
    "square": lambda x, w: ops.multiply(x, x),
    "upper": lambda x, w: ops.minimum(x, 0.3),
    "lower": lambda x, w: ops.maximum(x, -0.3),
    "dropout": lambda x, w: layers.Dropout(0.2)(x),
    "sign": lambda x, w: ops.cast(ops.not_equal(x, 0), "float32"),
}
POOLS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda x, w: ops.sum(x, axis=1),
    "max": lambda x, w: ops.max(x, axis=1),
    "mean": mean_over_words,
}


def random_graph(steps: Sequence[str], pool: str) -> keras.Model:
    """Return a model of these steps (`STEPS`), one after the other, and a reduction (`POOLS`)."""

    def body(x: Any, words: Any) -> Any:
        for step in steps:
            x = STEPS[step](x, words)
        return POOLS[pool](x, words)

    return over(body)


@contextlib.contextmanager
def counted_rows() -> Iterator[list[int | None]]:
    """Collect the number of texts of each batch that is joined to a row."""
    numbers: list[int | None] = []

    def counted(ids: tf.Tensor, gap: int) -> Any:
        numbers.append(ids.shape[0])
        return join(ids, gap)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuning.padding.packing.join", counted)
        yield numbers
