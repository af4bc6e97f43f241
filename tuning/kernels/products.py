"""Faster matrix products for the training of a pretrained encoder on a CPU."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tuning.hardware import has_bfloat16
from tuning.kernels import encoder

# TensorFlow's rewriting of a graph for the bfloat16 instructions of a processor.
OPTION = "auto_mixed_precision_onednn_bfloat16"


@contextlib.contextmanager
def fast_products(model: keras.Model, *, on_bfloat16: Callable[[], None]) -> Iterator[None]:
    """Train an encoder faster inside this context.

    Keras computes the queries, keys and values of an encoder (`EinsumDense`) as one product for
    each text; here they are one product for a batch. The sums are the same, and rounded in another
    order.

    If the processor has instructions for bfloat16, the matrix products of a training are computed
    in it, by `encoder` in layers that it supports. In a model without such a layer, TensorFlow
    rewrites the function that Keras' `fit` calls, but no loop with a `GradientTape`: most
    operations between two products are in bfloat16 too. The weights, the optimizer and all
    predictions keep their precision. `on_bfloat16` is called when such a step is made.
    """
    if model.jit_compile is True or tf.config.list_physical_devices("GPU"):
        yield
        return
    layers = list(dict.fromkeys(filter(_is_flat, model._flatten_layers())))
    fused: list[keras.layers.Layer] = []
    try:
        # TensorFlow computes these products by oneDNN.
        if has_bfloat16() and os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0":
            fused = encoder.fuse(model, on_bfloat16=on_bfloat16)
            if not fused and "make_train_function" not in vars(model):
                model.make_train_function = partial(_make_train_function, model, on_bfloat16)
        # After `encoder.fuse`, which leaves out layers whose parts have a `call` of their own.
        for layer in layers:
            layer.call = partial(_call, layer)
        yield
    finally:
        encoder.unfuse(fused)
        for layer in layers:
            vars(layer).pop("call", None)
        makes = vars(model).get("make_train_function")
        is_changed = getattr(makes, "func", None) is _make_train_function
        if is_changed:
            del model.make_train_function
        if fused or is_changed:
            model.train_function = None


def n_contracted(equation: str) -> int:
    """Return the number of axes over which the equation of an `EinsumDense` layer sums, if it
    multiplies the last axes of the input by the first axes of the weights; otherwise 0.
    """
    terms, output = equation.split("->")
    inputs, weights = terms.split(",")
    return next(
        (
            n
            for n in range(1, min(len(inputs), len(weights)))
            if inputs[-n:] == weights[:n] and output == inputs[:-n] + weights[n:]
        ),
        0,
    )


def _is_flat(layer: keras.layers.Layer) -> bool:
    if type(layer) is not keras.layers.EinsumDense or not layer.built:
        return False
    if encoder.has_own_call(layer):
        return False
    n, kernel = n_contracted(layer.equation), layer.kernel
    # A bias may have an axis of the input, such as the place in a text.
    has_flat_bias = layer.bias is None or len(layer.bias.shape) <= len(kernel.shape) - n
    return n > 0 and has_flat_bias and layer.quantization_mode is None and not layer.lora_enabled


def _call(layer: keras.layers.EinsumDense, inputs: Any, training: Any = None) -> Any:
    ops, n = keras.ops, n_contracted(layer.equation)
    kernel = ops.convert_to_tensor(layer.kernel)
    columns = kernel.shape[n:]
    rows = ops.reshape(inputs, (-1, math.prod(kernel.shape[:n])))
    products = ops.matmul(rows, ops.reshape(kernel, (-1, math.prod(columns))))
    if layer.bias is not None:
        products = ops.add(products, ops.reshape(ops.broadcast_to(layer.bias, columns), (-1,)))
    outputs = ops.reshape(products, (*ops.shape(inputs)[:-n], *columns))
    return outputs if layer.activation is None else layer.activation(outputs)


def _make_train_function(
    model: keras.Model, on_bfloat16: Callable[[], None], force: bool = False
) -> None:
    """Do what the model's own method does, with a function whose products are in bfloat16."""
    if model.train_function is not None and not force:
        return
    type(model).make_train_function(model, force)
    train = model.train_function

    def train_in_bfloat16(iterator: Any) -> Any:
        # TensorFlow compiles a function once for each set of options. The options are those of the
        # process, so no other thread may call TensorFlow for the first time during a step.
        if not model.run_eagerly:
            on_bfloat16()
        before = tf.config.optimizer.get_experimental_options().get(OPTION, False)
        tf.config.optimizer.set_experimental_options({OPTION: True})
        try:
            return train(iterator)
        finally:
            tf.config.optimizer.set_experimental_options({OPTION: before})

    model.train_function = train_in_bfloat16
