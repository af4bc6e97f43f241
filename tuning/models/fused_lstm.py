"""One CPU kernel for a whole sequence: `tf.raw_ops.BlockLSTM` in the place of Keras' loop over time, where its terms hold.

The layers stay `keras.layers.LSTM`: `fuse` replaces their inner loop for as long as a model trains, `unfuse` puts Keras' own back,
and what is saved is the stock layer. Losses, gradients and weights are Keras' (`tests/test_fused_lstm.py`).

Milliseconds a training step, batch 128, one thread of an AVX-512 core, median of 3 (`make bench-step`; the
machine is shared, ratios move by a fifth):

| length, units, embedding | Keras | fused | ratio |
|---|---|---|---|
| 100, 16, 16 | 33.1 | 10.9 | 3.02 |
| 100, 32, 20 | 33.0 | 18.5 | 1.78 |
| 200, 16, 16 | 46.1 | 33.1 | 1.96 |
| 200, 32, 32 | 73.0 | 46.1 | 1.62 |
| 200, 64, 64 | 126.1 | 99.7 | 1.26 |
| 200, 128, 64 | 258.2 | 206.9 | 1.25 |
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import tensorflow as tf

# BlockLSTM keeps its gates in the order i, c, f, o; Keras in i, f, c, o. BlockLSTMV2 must not be used: its registered gradient is
# that of the other order.
_NO_CLIP = -1.0


def fuse(model: keras.Model, *, right_padded: bool) -> list[keras.layers.LSTM]:
    """Let every LSTM of a model whose terms hold run in one kernel; returns those layers, for `unfuse`.

    The terms: a CPU, float32, no XLA; tanh and sigmoid; no recurrent dropout; a last output alone; forwards, from a zero state.
    A mask must be that of padding after the text, which `right_padded` vouches for; without it models with a mask are left alone.
    """
    layers = list(model._flatten_layers())
    masked = any(getattr(layer, "mask_zero", False) or isinstance(layer, keras.layers.Masking) for layer in layers)
    if (masked and not right_padded) or model.jit_compile is True or tf.config.list_physical_devices("GPU"):
        return []
    fused = [layer for layer in layers if type(layer) is keras.layers.LSTM and _terms_hold(layer)]
    for layer in fused:
        layer.inner_loop = partial(_inner_loop, layer)
    return fused


def unfuse(layers: list[keras.layers.LSTM]) -> None:
    """Give the layers of `fuse` their own loop back."""
    for layer in layers:
        del layer.inner_loop


def _terms_hold(layer: keras.layers.LSTM) -> bool:
    return (
        not (
            layer.recurrent_dropout or layer.return_sequences or layer.return_state or layer.go_backwards or layer.stateful or layer.unroll
        )
        and layer.activation is keras.activations.tanh
        and layer.recurrent_activation is keras.activations.sigmoid
        and layer.compute_dtype == "float32"
    )


def _inner_loop(
    layer: keras.layers.LSTM, sequences: tf.Tensor, initial_state: list[tf.Tensor], mask: Any, training: bool = False
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """What `keras.layers.LSTM.inner_loop` gives: last output (batch, units), outputs (batch, length, units), states."""
    cell = layer.cell
    if training and layer.dropout:
        sequences = sequences * cell.get_dropout_mask(sequences[:, 0, :])[:, None, :]
    weights = tf.concat([tf.convert_to_tensor(cell.kernel), tf.convert_to_tensor(cell.recurrent_kernel)], axis=0)
    bias = tf.convert_to_tensor(cell.bias) if layer.use_bias else tf.zeros(4 * cell.units)
    no_peephole = tf.zeros(cell.units)
    steps = tf.transpose(sequences, (1, 0, 2))
    run = tf.raw_ops.BlockLSTM(
        seq_len_max=tf.shape(steps, out_type=tf.int64)[0],
        x=steps,
        cs_prev=initial_state[1],
        h_prev=initial_state[0],
        w=_in_kernel_order(weights),
        wci=no_peephole,
        wcf=no_peephole,
        wco=no_peephole,
        b=_in_kernel_order(bias),
        forget_bias=0.0,
        cell_clip=_NO_CLIP,
        use_peephole=False,
    )
    last = [_last(values, mask, initial) for values, initial in zip((run.h, run.cs), initial_state, strict=True)]
    return last[0], tf.transpose(run.h, (1, 0, 2)), last


def _in_kernel_order(weights: tf.Tensor) -> tf.Tensor:
    i, f, c, o = tf.split(weights, 4, axis=-1)
    return tf.concat([i, c, f, o], axis=-1)


def _last(values: tf.Tensor, mask: Any, initial: tf.Tensor) -> tf.Tensor:
    """The value (length, batch, units) at each text's last token; the initial state where a text has none."""
    if mask is None:
        return values[-1]
    mask = mask[0] if isinstance(mask, list | tuple) else mask
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    places = tf.stack([tf.maximum(lengths - 1, 0), tf.range(tf.shape(lengths)[0])], axis=1)
    return tf.where((lengths > 0)[:, None], tf.gather_nd(values, places), initial)
