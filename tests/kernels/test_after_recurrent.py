"""Models in which other layers follow an LSTM or a GRU, in the styles of public code: with the
kernel they have the static shapes, outputs and gradients of Keras' own layers.
"""

# ruff: noqa: PLW0108 - a lambda makes new layers for each model

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests.kernels.layers import CELLS, ROWS, ids, pair

LENGTH, UNITS = 9, 4
# Fewer texts than time steps: Keras' `TimeDistributed` takes the batch size for an unknown length.
N_TEXTS = 6


class WeightsOfSteps(layers.Layer):
    """Attention with a bias for each time step, whose shape is read in `build`."""

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight(name="w", shape=(input_shape[-1], 1), initializer="uniform")
        self.b = self.add_weight(name="b", shape=(input_shape[1], 1), initializer="uniform")

    def call(self, x: Any) -> Any:
        scores = ops.softmax(ops.tanh(ops.matmul(x, self.w) + self.b), axis=1)
        return ops.sum(x * scores, axis=1)


class FlatScores(layers.Layer):
    """Attention whose `call` reads the number of time steps."""

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight(name="w", shape=(input_shape[-1], 1), initializer="uniform")

    def call(self, x: Any) -> Any:
        length, width = x.shape[1], x.shape[2]
        scores = ops.softmax(ops.reshape(ops.matmul(x, self.w), (-1, length)))
        return ops.reshape(ops.matmul(ops.reshape(scores, (-1, 1, length)), x), (-1, width))


def repeated_scores(x: Any) -> Any:
    """Return the sum over time, weighted with a softmax that is repeated for each unit."""
    scores = layers.Flatten()(layers.TimeDistributed(layers.Dense(1, activation="tanh"))(x))
    scores = layers.RepeatVector(x.shape[-1])(layers.Activation("softmax")(scores))
    weighted = layers.Multiply()([x, layers.Permute((2, 1))(scores)])
    return layers.Lambda(lambda t: ops.sum(t, axis=1))(weighted)


def scores_over_time(x: Any) -> Any:
    """Return the flattened product with a dense layer over the time axis."""
    scores = layers.Dense(x.shape[1], activation="softmax")(layers.Permute((2, 1))(x))
    return layers.Flatten()(layers.Multiply()([x, layers.Permute((2, 1))(scores)]))


def decoded(x: Any) -> Any:
    """Return the steps of a decoder that begins with the state of an encoder."""
    _, h, c = layers.LSTM(UNITS, return_state=True)(x)
    repeated = layers.RepeatVector(3)(h)
    steps = layers.LSTM(UNITS, return_sequences=True)(repeated, initial_state=[h, c])
    return layers.Flatten()(layers.TimeDistributed(layers.Dense(2))(steps))


def sentences(x: Any) -> Any:
    """Return a text as three sentences, each of which an LSTM reads."""
    parts = layers.Reshape((3, LENGTH // 3, x.shape[-1]))(x)
    return layers.LSTM(UNITS)(layers.TimeDistributed(layers.LSTM(UNITS))(parts))


AFTER: dict[str, Callable[[Any], Any]] = {
    "each step": lambda x: layers.Flatten()(layers.TimeDistributed(layers.Dense(2))(x)),
    "own attention, shape in build": lambda x: WeightsOfSteps()(x),
    "own attention, shape in call": lambda x: FlatScores()(x),
    "repeated scores": repeated_scores,
    "scores over time": scores_over_time,
    "unrolled": lambda x: layers.LSTM(UNITS, unroll=True)(x),
    "normalized over time": lambda x: layers.Flatten()(layers.BatchNormalization(axis=1)(x)),
    "reshaped by its shape": lambda x: layers.Lambda(
        lambda t: ops.reshape(t, (-1, t.shape[1] * t.shape[2]))
    )(x),
    "decoder": decoded,
    "sentences": sentences,
    "attention": lambda x: layers.GlobalMaxPooling1D()(layers.Attention()([x, x])),
    "dot over time": lambda x: layers.Flatten()(layers.Dot(axes=(1, 1))([x, x])),
    "convolution": lambda x: layers.Flatten()(layers.Conv1D(3, 3)(x)),
    "next recurrent layer": lambda x: layers.Bidirectional(layers.GRU(UNITS))(x),
}
FAST = ("each step", "own attention, shape in call", "unrolled")


def model_of(recurrent: Callable[[], Any], after: Callable[[Any], Any]) -> keras.Model:
    # No mask: most layers above destroy it, and some refuse it.
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = recurrent()(layers.Embedding(ROWS, 3)(inputs))
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(after(x)))


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in AFTER]
)
def test_layer_after_the_kernel_gives_what_it_gives_after_keras(name: str) -> None:
    """The steps are traced for any number of texts, as in a training."""

    def build() -> keras.Model:
        return model_of(
            lambda: layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True)), AFTER[name]
        )

    n_fused = {"decoder": 4, "sentences": 4, "next recurrent layer": 4}

    def step(model: keras.Model, x: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = tf.reduce_mean(tf.square(outputs - 1))
        gradients = tape.gradient(loss, model.trainable_variables)
        return outputs, [tf.convert_to_tensor(gradient) for gradient in gradients]

    results = []
    for model in pair(build, n_fused.get(name, 2)):
        specs = [tf.TensorSpec((None, LENGTH), tf.int32)]
        traced = tf.function(partial(step, model), input_signature=specs, autograph=False)
        results.append(tf.nest.flatten(traced(tf.constant(ids(n=N_TEXTS, length=LENGTH)))))
    for stock, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, stock, atol=1e-6)


def outputs_of(
    model: keras.Model, *, batch: int | None, length: int | None, state: bool
) -> tuple[list[Any], list[Any]]:
    """Return the static shapes of a model's outputs in a traced step, and the shapes of the
    outputs for a batch.
    """
    specs = [tf.TensorSpec((batch, length, 3))]
    specs += [tf.TensorSpec((batch, UNITS))] if state else []
    call = tf.function(lambda *inputs: model(list(inputs), training=True), autograph=False)
    traced = call.get_concrete_function(*specs)
    values = traced(*(tf.zeros([size or 5 for size in spec.shape]) for spec in specs))
    return (
        [tensor.shape.as_list() for tensor in traced.outputs],
        [tensor.shape.as_list() for tensor in tf.nest.flatten(values)],
    )


@pytest.mark.parametrize(
    "direction",
    [
        "forward",
        *(
            pytest.param(direction, marks=pytest.mark.slow)
            for direction in ("backward", "concat", "sum", None)
        ),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_shapes_are_those_of_keras(cell: str, direction: str | None) -> None:
    """Compare every output and state for each known or unknown size, with and without a mask and
    an initial state.
    """
    is_one = direction in ("forward", "backward")
    for batch, length, masked, sequences, state in itertools.product(
        (None, 2), (None, LENGTH), *[(False, True)] * 2, (False, True) if is_one else (False,)
    ):

        def build(
            batch: int | None = batch,
            length: int | None = length,
            masked: bool = masked,
            sequences: bool = sequences,
            s: bool = state,
        ) -> keras.Model:
            inputs = [keras.Input((length, 3), batch_size=batch)]
            inputs += [keras.Input((UNITS,), batch_size=batch)] if s else []
            x = layers.Masking()(inputs[0]) if masked else inputs[0]
            layer = CELLS[cell](
                UNITS,
                return_sequences=sequences,
                return_state=True,
                go_backwards=direction == "backward",
            )
            first = inputs[1:] * (2 if cell == "lstm" else 1)
            return keras.Model(
                inputs,
                layer(x, initial_state=first or None)
                if is_one
                else layers.Bidirectional(layer, merge_mode=direction)(x),
            )

        stock, fused = (
            outputs_of(model, batch=batch, length=length, state=state)
            for model in pair(build, 1 if is_one else 2)
        )
        assert fused == stock, (batch, length, masked, sequences, state)
