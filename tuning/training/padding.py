"""Whether the output of a graph of Keras operations is independent of the padding after a text.

The operations are followed from the token ids to the output. What is known of each tensor is a
`Tokens` (it has a value or a vector for each token) or a `Texts` (it has a row for each text). An
operation that is not listed here may read the padding, and the answer is then no.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.models.functional import Functional
from keras.src.ops import core, numpy

# Keras' own activations read one position at a time. A user's function may be a softmax over all
# positions.
_ACTIVATIONS = frozenset(
    value for value in vars(keras.activations).values() if inspect.isfunction(value)
)
# Values that no output of these activations is below.
_LOWEST = {
    keras.activations.relu: 0.0,
    keras.activations.sigmoid: 0.0,
    keras.activations.softmax: 0.0,
    keras.activations.tanh: -1.0,
}


@dataclass(frozen=True)
class Tokens:
    """What is known of a tensor (batch, length) or (batch, length, width).

    The values at the words never depend on the number of padding columns. A tensor whose values are
    0 at the padding and positive at the words marks the words: the token ids themselves, and a
    mask.

    Args:
        padding: the value at the padding, or None if it is not known.
        lowest: a value that no value at a word is below.
    """

    padding: float | None = None
    lowest: float = -math.inf

    @property
    def marks_words(self) -> bool:
        return self.padding == 0 and self.lowest > 0


@dataclass(frozen=True)
class Texts:
    """A tensor with a row for each text. The rows do not depend on the padding."""


Value = Tokens | Texts


class _ReadsPadding(Exception):
    """An operation may read the padding, or is not known here."""


def is_ignored(graph: Functional) -> bool:
    """Return whether the outputs of a graph whose inputs are ids of shape (batch, length), of
    tokens or n-grams, are independent of the padding after the texts.
    """
    values: dict[int, Value] = {id(ids): Tokens(padding=0, lowest=1) for ids in graph.inputs}
    try:
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if not node.is_input:
                    _follow(node, values)
    except _ReadsPadding:
        return False
    return all(isinstance(values[id(output)], Texts) for output in graph.outputs)


def takes_any_length(layers: Sequence[keras.layers.Layer]) -> bool:
    """Return whether a chain of layers that are not built yet may get texts of any length, because
    one masks the padding and the others honor the mask.
    """
    embeddings = [layer for layer in layers if type(layer) is keras.layers.Embedding]
    return (
        len(embeddings) == 1
        and embeddings[0].mask_zero
        and all(
            type(layer) in _LAYERS
            and type(layer) is not keras.layers.Conv1D  # It drops the mask.
            and _is_plain(layer)
            for layer in layers
        )
    )


def _follow(node: Any, values: dict[int, Value]) -> None:
    """Add what is known of the outputs of a call to `values`, whose keys are the ids of tensors.

    Raises:
        _ReadsPadding: the operation may read the padding.
    """
    inputs = [_value(argument, values) for argument in node.arguments.args]
    options = {name: value for name, value in node.arguments.kwargs.items() if value is not None}
    ranks = {
        len(tensor.shape)
        for tensor in keras.tree.flatten(node.arguments.args)
        if isinstance(tensor, keras.KerasTensor)
    }
    _require(len(ranks) == 1)  # Values of different ranks would not broadcast position by position.
    (rank,) = ranks
    if isinstance(node.operation, keras.layers.Layer):
        mask = values.get(id(options.pop("mask", None)))
        options.pop("training", None)
        # Keras drops the mask of a call with several tensors, such as an initial state.
        _require(type(node.operation) in _LAYERS and _is_plain(node.operation))
        _require(len(inputs) == 1 and not options)
        is_masked = isinstance(mask, Tokens) and mask.marks_words
        found = _LAYERS[type(node.operation)](
            node.operation, *inputs, is_masked=is_masked, rank=rank
        )
    else:
        _require(type(node.operation) in _OPERATIONS and not options)
        found = _OPERATIONS[type(node.operation)](node.operation, inputs, rank=rank)
    first, *states = node.outputs
    # The states of a recurrent layer have a row for each text.
    values |= {id(first): found} | {id(state): Texts() for state in states}


def _value(argument: Any, values: dict[int, Value]) -> Any:
    """Return what is known of an argument: a tensor, a list of tensors, or a number."""
    if isinstance(argument, list | tuple):
        return [_value(part, values) for part in argument]
    if isinstance(argument, keras.KerasTensor):
        return values[id(argument)]
    if isinstance(argument, bool | int | float):
        return float(argument)
    raise _ReadsPadding


def _is_plain(layer: Any) -> bool:
    """Return whether a layer has no option with which it may read the padding.

    The penalty of an activity regularizer includes the padding.
    """
    activation = getattr(layer, "activation", None)
    return (
        layer.activity_regularizer is None
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and getattr(layer, "noise_shape", None) is None
        and (activation is None or activation in _ACTIVATIONS)
        and (type(layer) not in _RECURRENT or _is_plain_recurrent(layer))
        and (type(layer) is not keras.layers.Bidirectional or _is_plain_bidirectional(layer))
    )


def _is_plain_recurrent(layer: Any) -> bool:
    # With both options Keras reverses the sequence but not its mask.
    return _takes_any_length(layer) and not (layer.go_backwards and layer.return_sequences)


def _is_plain_bidirectional(layer: Any) -> bool:
    directions = (layer.forward_layer, layer.backward_layer)
    return not layer.forward_layer.go_backwards and all(
        type(direction) in _RECURRENT and _takes_any_length(direction) for direction in directions
    )


def _takes_any_length(layer: Any) -> bool:
    """Return whether a recurrent layer has Keras' own activations and takes texts of any length: a
    layer that is stateful or unrolled needs a fixed length.
    """
    stock = layer.activation in _ACTIVATIONS and layer.recurrent_activation in _ACTIVATIONS
    return stock and not layer.stateful and not layer.unroll and layer.activity_regularizer is None


# The functions below take an operation and what is known of its inputs, and return what is known of
# its output. `rank` is the number of axes of the input.


def _embedding(layer: Any, value: Value, *, is_masked: bool, rank: int) -> Value:
    _require(isinstance(value, Tokens) and rank == 2)
    return Tokens()


def _dropout(layer: Any, value: Value, *, is_masked: bool, rank: int) -> Value:
    """Dropout sets values to 0 and multiplies the others by a number of at least 1."""
    if isinstance(value, Texts):
        return value
    return Tokens(
        padding=0 if value.padding == 0 else None, lowest=0 if value.lowest >= 0 else -math.inf
    )


def _by_position(layer: Any, value: Value, *, is_masked: bool, rank: int) -> Value:
    """A layer that reads the last axis, which must not be the positions of the text."""
    if isinstance(value, Texts):
        return value
    _require(rank == 3)
    return Tokens(lowest=_lowest(layer))


def _convolution(layer: Any, value: Value, *, is_masked: bool, rank: int) -> Value:
    """Keras pads a text with zeros, so that padding of zeros makes no difference."""
    _require(isinstance(value, Tokens) and value.padding == 0)
    _require(layer.padding in ("same", "causal") and tuple(layer.strides) == (1,))
    return Tokens(lowest=_lowest(layer))


def _recurrent(layer: Any, value: Value, *, is_masked: bool, rank: int) -> Value:
    _require(isinstance(value, Tokens) and is_masked)
    return Tokens(lowest=_lowest(layer)) if layer.return_sequences else Texts()


def _bidirectional(layer: Any, value: Value, *, is_masked: bool, rank: int) -> Value:
    _require(isinstance(value, Tokens) and is_masked and layer.merge_mode is not None)
    both = (layer.forward_layer, layer.backward_layer)
    lowest = min(map(_lowest, both)) if layer.merge_mode in ("concat", "ave") else -math.inf
    return Tokens(lowest=lowest) if layer.return_sequences else Texts()


def _average(layer: Any, value: Value, *, is_masked: bool, rank: int) -> Value:
    _require(isinstance(value, Tokens) and is_masked)
    return Texts()


def _concatenate_layer(layer: Any, value: Any, *, is_masked: bool, rank: int) -> Value:
    return _concatenate(layer, [value], rank=rank)


def _multiply_layer(layer: Any, values: Any, *, is_masked: bool, rank: int) -> Value:
    first, *others = values
    product: Value = first
    for other in others:
        product = _multiply(layer, [product, other], rank=rank)
    return product


def _elementwise_layer(layer: Any, values: Any, *, is_masked: bool, rank: int) -> Value:
    return _elementwise(layer, values, rank=rank)


def _lowest(layer: Any) -> float:
    """Return a value that no output of a layer is below. The output of an LSTM is an activation
    times a number between 0 and 1, and that of a GRU is a mean of activations.
    """
    is_gate = type(layer) not in _RECURRENT or (
        layer.recurrent_activation is keras.activations.sigmoid
    )
    return _LOWEST.get(layer.activation, -math.inf) if is_gate else -math.inf


def _cast(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    (value,) = inputs
    _require(operation.dtype in ("bool", "int32", "int64", "float32", "float64"))
    if isinstance(value, Texts):
        return value
    # A number between 0 and 1 may become 0, a number above 1 may become true (1).
    lowest = min(value.lowest, 1) if value.lowest >= 1 else min(value.lowest, 0)
    return Tokens(padding=0 if value.padding == 0 else None, lowest=lowest)


def _expand(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    (value,) = inputs
    _require(rank == 2 and operation.axis in (-1, 2))
    return _as_tokens(value)


def _compare(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    """`x != 0` and `x > 0`: true where `x` marks the words."""
    value, other = inputs
    _require(isinstance(value, Tokens) and other == 0)
    return Tokens(padding=0 if value.padding == 0 else None, lowest=1 if value.lowest > 0 else 0)


def _where(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    condition, *branches = inputs
    _require(isinstance(condition, Tokens))
    yes, no = map(_as_tokens, branches)
    if condition.marks_words:
        return Tokens(padding=no.padding, lowest=yes.lowest)
    return Tokens(
        padding=no.padding if condition.padding == 0 else None, lowest=min(yes.lowest, no.lowest)
    )


def _multiply(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    if _are_of_texts(inputs):
        return Texts()
    one, other = map(_as_tokens, inputs)
    is_positive = one.lowest >= 0 and other.lowest >= 0
    return Tokens(
        padding=0 if 0 in (one.padding, other.padding) else None,
        lowest=one.lowest * other.lowest if is_positive else -math.inf,
    )


def _extreme(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    """The smaller or the larger of two values."""
    if _are_of_texts(inputs):
        return Texts()
    one, other = map(_as_tokens, inputs)
    choose = min if type(operation) is numpy.Minimum else max
    padding = (
        None if one.padding is None or other.padding is None else choose(one.padding, other.padding)
    )
    return Tokens(padding=padding, lowest=choose(one.lowest, other.lowest))


def _elementwise(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    _require(_are_of_texts(inputs))
    return Texts()


def _concatenate(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    (parts,) = inputs
    _require(_are_of_texts(parts) and operation.axis in (-1, rank - 1) and rank > 1)
    return Texts()


def _sum(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    """The sum over a text: zeros at the padding add nothing."""
    (value,) = inputs
    _require(isinstance(value, Tokens) and value.padding == 0 and _is_over_text(operation, rank))
    return Texts()


def _maximum_of_text(operation: Any, inputs: list[Any], *, rank: int) -> Value:
    """The maximum over a text: a padding that is never above the words changes nothing."""
    (value,) = inputs
    _require(isinstance(value, Tokens) and _is_over_text(operation, rank))
    _require(value.padding is not None and value.padding <= value.lowest)
    return Texts()


def _is_over_text(operation: Any, rank: int) -> bool:
    return bool(operation.axis) and list(operation.axis) in ([1], [1 - rank])


def _as_tokens(value: Any) -> Tokens:
    if isinstance(value, float):
        return Tokens(padding=value, lowest=value)
    if not isinstance(value, Tokens):
        raise _ReadsPadding
    return value


def _are_of_texts(values: list[Any]) -> bool:
    """Return whether a list contains only rows of texts and numbers."""
    return all(isinstance(value, Texts | float) for value in values)


def _require(condition: bool) -> None:
    if not condition:
        raise _ReadsPadding


_RECURRENT = (keras.layers.LSTM, keras.layers.GRU)
_LAYERS: dict[type, Callable[..., Value]] = {
    keras.layers.Embedding: _embedding,
    keras.layers.Dropout: _dropout,
    keras.layers.SpatialDropout1D: _dropout,
    keras.layers.Dense: _by_position,
    keras.layers.Activation: _by_position,
    keras.layers.Conv1D: _convolution,
    keras.layers.LSTM: _recurrent,
    keras.layers.GRU: _recurrent,
    keras.layers.Bidirectional: _bidirectional,
    keras.layers.GlobalAveragePooling1D: _average,
    keras.layers.Concatenate: _concatenate_layer,
    keras.layers.Multiply: _multiply_layer,
    keras.layers.Add: _elementwise_layer,
    keras.layers.Average: _elementwise_layer,
}
_OPERATIONS: dict[type, Callable[..., Value]] = {
    core.Cast: _cast,
    numpy.ExpandDims: _expand,
    numpy.NotEqual: _compare,
    numpy.Greater: _compare,
    numpy.Where: _where,
    numpy.Multiply: _multiply,
    numpy.Minimum: _extreme,
    numpy.Maximum: _extreme,
    numpy.Add: _elementwise,
    numpy.Divide: _elementwise,
    numpy.Sqrt: _elementwise,
    numpy.Concatenate: _concatenate,
    numpy.Sum: _sum,
    numpy.Max: _maximum_of_text,
}
