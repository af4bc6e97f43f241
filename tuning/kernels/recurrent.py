"""A CPU kernel for `keras.layers.LSTM` and `keras.layers.GRU`: one call for a whole sequence
(`recurrent_sequence`) instead of Keras' loop over time.

The layers stay Keras' own: `fuse` replaces their inner loop while a model trains, `unfuse` restores
it, and a saved model contains the stock layer. Outputs, gradients and weights equal Keras'
(`tests/kernels/test_recurrent.py`).
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from functools import partial
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tuning.kernels.compiling import Array, Memory
from tuning.kernels.gradients import CustomGradients
from tuning.kernels.recurrent_sequence import Arguments, Reserve, backward, forward, reserve_for

Layer: TypeAlias = "keras.layers.LSTM | keras.layers.GRU"

# Maximum number of forward passes of a layer that wait for their gradient: a model seldom calls a
# layer more often. A pass that was dropped is computed again.
MAX_KEPT = 4
SECOND_DERIVATIVE = (
    "The kernel of LSTM and GRU layers has no second derivative; a model that needs one must use a"
    " subclass of the layer."
)


def fuse(model: keras.Model) -> list[Layer]:
    """Replace the inner loop of a model's LSTM and GRU layers by the kernel, where its conditions
    hold. Return the changed layers, for `unfuse`.

    The conditions: a CPU, no XLA, float32, Keras' cell with the activations tanh and sigmoid,
    neither `unroll` nor `stateful`, and for a GRU `reset_after`. Masks of any kind, both dropouts,
    `return_sequences`, `return_state`, `go_backwards` and `Bidirectional` are supported.
    """
    if model.jit_compile is True or tf.config.list_physical_devices("GPU"):
        return []
    layers = list(dict.fromkeys(filter(_is_supported, model._flatten_layers())))
    for layer in layers:
        layer.inner_loop = partial(_inner_loop, layer, Kernel())
    return layers


def unfuse(layers: list[Layer]) -> None:
    for layer in layers:
        layer.inner_loop.args[1].close()
        del layer.inner_loop


def _is_supported(layer: Any) -> bool:
    return (
        # A subclass, or a method that was set on an object itself, may compute anything.
        type(layer) in (keras.layers.LSTM, keras.layers.GRU)
        and type(layer.cell) in (keras.layers.LSTMCell, keras.layers.GRUCell)
        and "call" not in vars(layer.cell)
        and "inner_loop" not in vars(layer)
        and not (layer.stateful or layer.unroll)
        and layer.activation is keras.activations.tanh
        and layer.recurrent_activation is keras.activations.sigmoid
        and layer.compute_dtype == layer.cell.compute_dtype == "float32"
        # With a dropout of 1, Keras' cell drops nothing.
        and max(layer.dropout, layer.recurrent_dropout) < 1
        # With `implementation=1`, Keras draws a mask of the inputs for each gate.
        and (layer.recurrent_dropout or not layer.dropout or layer.cell.implementation == 2)
        and (_is_lstm(layer) or layer.reset_after)
    )


def _inner_loop(  # noqa: PLR0917 - the arguments of Keras' method follow the two bound arguments
    layer: Layer,
    kernel: Kernel,
    sequences: tf.Tensor,
    initial_state: list[tf.Tensor],
    mask: Any,
    training: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """Return what the layer's own `inner_loop` returns: the last output (batch, units), the outputs
    (batch, length, units), and the states h, and c of an LSTM (batch, units).
    """
    sequences = tf.cast(sequences, layer.compute_dtype)  # Keras multiplies integers too.
    cell, dtype = layer.cell, sequences.dtype
    mask = mask[0] if isinstance(mask, list | tuple) else mask
    steps = tf.zeros((0, 0), tf.bool)
    if mask is not None:
        # Keras also takes a mask (batch, length, 1), and a mask of one text for all texts.
        mask = tf.cast(mask[:, :, 0] if len(mask.shape) > 2 else mask, tf.bool)
        steps = tf.broadcast_to(mask, tf.shape(sequences)[:2])
    x = sequences
    if layer.go_backwards:
        x, steps = tf.reverse(x, [1]), tf.reverse(steps, [1])
    dropout = (
        _dropout(layer, sequences, initial_state[0]) if training else tf.zeros((0, 0, 0), dtype)
    )
    run = kernel.differentiable(keep=bool(training), return_sequences=layer.return_sequences)
    h = initial_state[0]
    c = initial_state[1] if _is_lstm(layer) else tf.zeros((tf.shape(h)[0], 0), dtype)
    every_h, *states = run(x, _weights(layer, dtype), h, c, steps, dropout)
    # The layers that follow may read static sizes, so these are the sizes that Keras' loop gives.
    batch, length, _ = sequences.shape
    states = [tf.ensure_shape(state, (batch, cell.units)) for state in states[: len(initial_state)]]
    # Keras' output is 0 before the first step that is not masked, and, with `zero_output_for_mask`,
    # at every masked step; the kernel's output is the state.
    if mask is not None:
        shown = steps if layer.zero_output_for_mask else tf.cumsum(tf.cast(steps, tf.int32), 1) > 0
        if layer.return_sequences:
            every_h = tf.where(shown[:, :, None], every_h, tf.zeros((), dtype))
    last = states[0] if mask is None else tf.where(shown[:, -1:], states[0], tf.zeros((), dtype))
    outputs = (
        tf.ensure_shape(every_h, (batch, length, cell.units))
        if layer.return_sequences
        else last[:, None]
    )
    return last, outputs, states


def _is_lstm(layer: Layer) -> bool:
    return isinstance(layer, keras.layers.LSTM)


def _weights(layer: Layer, dtype: tf.DType) -> tf.Tensor:
    """Return `Arguments.weights`."""
    cell, units = layer.cell, layer.cell.units
    kernel, recurrent_kernel = map(tf.convert_to_tensor, (cell.kernel, cell.recurrent_kernel))
    shape = (1, 4 * units) if _is_lstm(layer) else (2, 3 * units)
    bias = tf.reshape(cell.bias, shape) if layer.use_bias else tf.zeros(shape, dtype)
    if _is_lstm(layer):
        return tf.concat([kernel, bias, recurrent_kernel], axis=0)
    of_features = tf.concat([kernel, bias[:1], tf.zeros_like(recurrent_kernel)], axis=0)
    of_state = tf.concat([tf.zeros_like(kernel), bias[1:], recurrent_kernel], axis=0)
    gates = of_features[:, : 2 * units] + of_state[:, : 2 * units]
    return tf.concat([gates, of_features[:, 2 * units :], of_state[:, 2 * units :]], axis=1)


def _dropout(layer: Layer, sequences: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """Return `Arguments.dropout` from the masks that Keras drew for this call: one mask of the
    inputs, or masks of inputs and states for each gate.
    """
    step, cell = sequences[:, 0, :], layer.cell
    if not (layer.dropout or layer.recurrent_dropout):
        return tf.zeros((0, 0, 0), sequences.dtype)
    features = cell.get_dropout_mask(step) if layer.dropout else tf.ones_like(step)
    if not layer.recurrent_dropout:
        return features[None]
    of_states = cell.get_recurrent_dropout_mask(state)
    of_features = features if isinstance(features, list) else [features] * len(of_states)
    # The candidate of a GRU has two places in the weights.
    return tf.stack(
        [
            tf.concat([of_features[k], tf.ones_like(step[:, :1]), of_states[k]], axis=1)
            for k in (range(4) if _is_lstm(layer) else (0, 1, 2, 2))
        ]
    )


class Kernel:
    """The kernel of one layer as a function of TensorFlow that has a gradient."""

    def __init__(self) -> None:
        self._pass_numbers = itertools.count(1)
        self._kept: OrderedDict[int, Reserve] = OrderedDict()
        self._lock = threading.Lock()
        self._memory = Memory()
        # Allocating the reserves in each step made training a tenth slower.
        self._of_reserves = [Memory() for _ in Reserve._fields]
        self._gradients = CustomGradients()

    def close(self) -> None:
        self._gradients.close()
        self._kept.clear()
        for memory in (self._memory, *self._of_reserves):
            memory.clear()

    def differentiable(self, *, keep: bool, return_sequences: bool) -> Any:
        """Return the kernel as a TensorFlow function from `Arguments` to the outputs of `forward`.
        `keep` keeps the reserve of each forward pass, because its gradient is likely to follow.
        """
        run_forward = partial(self._forward, keep=keep, return_sequences=return_sequences)

        def run(*arguments: tf.Tensor) -> Any:
            dtype = arguments[0].dtype
            *outputs, pass_number = tf.numpy_function(
                run_forward, arguments, [dtype, dtype, dtype, tf.int64]
            )

            def gradient(*upstream_and_arguments: tf.Tensor) -> Any:
                gradients = tf.numpy_function(
                    self._backward, [pass_number, *upstream_and_arguments], [dtype] * 4
                )
                for tensor, argument in zip(gradients, arguments, strict=False):
                    tensor.set_shape(argument.shape)
                return gradients

            return outputs, lambda *upstream: [
                *self._gradients.last(gradient, SECOND_DERIVATIVE)(*upstream, *arguments),
                None,
                None,
            ]

        return self._gradients.of(run)

    def _forward(
        self, *arguments: Any, keep: bool, return_sequences: bool
    ) -> tuple[Array, Array, Array, np.int64]:
        given = Arguments(*arguments)
        pass_number = next(self._pass_numbers)
        reserve = reserve_for(given, given.x.shape[1] if keep else 1, self._of_reserves)
        with np.errstate(all="ignore"):  # A training ends at a loss that is not finite.
            outputs = forward(
                given, reserve, return_sequences=return_sequences, memory=self._memory
            )
        if keep:
            with self._lock:
                self._kept[pass_number] = reserve
                if len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
        return *outputs, np.int64(pass_number)

    def _backward(
        self, pass_number: Any, d_outputs: Array, d_h: Array, d_c: Array, *arguments: Any
    ) -> tuple[Array, Array, Array, Array]:
        given = Arguments(*arguments)
        with self._lock:
            reserve = self._kept.pop(int(pass_number), None)
        with np.errstate(all="ignore"):
            if reserve is None:  # The reserve was not kept, or was dropped (`MAX_KEPT`).
                reserve = reserve_for(given, given.x.shape[1], self._of_reserves)
                forward(given, reserve, return_sequences=False)
            return backward((d_outputs, d_h, d_c), given, reserve, memory=self._memory)
