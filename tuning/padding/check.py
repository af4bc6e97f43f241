"""A check whether the output of a graph of Keras operations is independent of the padding.

The operations are followed from the token ids to the output. `RULES` has a rule for each known
operation and layer: a function from a call, with the known facts of its inputs, to the known facts
of its output. An operation that has no rule may read the padding, and the result is then no.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.models.functional import Functional
from keras.src.ops import core, numpy

RECURRENT = (keras.layers.LSTM, keras.layers.GRU)
# Keras' own activations read one position at a time. A user's function may be a softmax over all
# positions.
_ACTIVATIONS = frozenset(
    value for value in vars(keras.activations).values() if inspect.isfunction(value)
)
# Lower bounds of the outputs of these activations.
_LOWEST = {
    keras.activations.relu: 0.0,
    keras.activations.sigmoid: 0.0,
    keras.activations.softmax: 0.0,
    keras.activations.tanh: -1.0,
}


@dataclass(frozen=True)
class Tokens:
    """The known facts of a tensor (batch, length) or (batch, length, width).

    The values at the words never depend on the number of padding columns. `padding` is the value at
    the padding, or None if it is not known; `lowest` is a lower bound of the values at the words.
    """

    padding: float | None = None
    lowest: float = -math.inf

    @property
    def marks_words(self) -> bool:
        """Whether the values are 0 at the padding and positive at the words, as those of token ids
        and of a mask.
        """
        return self.padding == 0 and self.lowest > 0


@dataclass(frozen=True)
class Texts:
    """A tensor with a row for each text. The rows do not depend on the padding."""


Value = Tokens | Texts


@dataclass(frozen=True)
class Call:
    """A call of an operation or layer. `inputs` has the known facts of each input tensor, or the
    number itself as a float; `rank` is the number of axes of the input tensors; `is_masked` says
    whether a layer gets a mask that marks the words.
    """

    operation: Any
    inputs: list[Any]
    rank: int
    is_masked: bool

    @property
    def value(self) -> Any:
        require(len(self.inputs) == 1)
        return self.inputs[0]


class ReadsPadding(Exception):
    """An operation may read the padding, or has no rule."""


def require(condition: bool) -> None:
    if not condition:
        raise ReadsPadding


def is_ignored(graph: Functional) -> bool:
    """Return whether the outputs of a graph whose inputs are ids of shape (batch, length), of
    tokens or n-grams, are independent of the padding after the texts.
    """
    values: dict[int, Value] = {id(ids): Tokens(padding=0, lowest=1) for ids in graph.inputs}
    try:
        for node in nodes_of(graph):
            _follow(node, values)
    except ReadsPadding:
        return False
    return all(isinstance(values[id(output)], Texts) for output in graph.outputs)


def nodes_of(graph: Functional) -> Iterator[Any]:
    """Yield the calls of a graph, each after the calls whose outputs it takes."""
    # Keras has no public list of the calls of a graph. The depth of a call is its distance to the
    # outputs.
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from (node for node in graph._nodes_by_depth[depth] if not node.is_input)


def takes_any_length(layers: Sequence[keras.layers.Layer]) -> bool:
    """Return whether a chain of layers that are not built yet may get texts of any length, because
    one layer masks the padding and the others honor the mask.
    """
    embeddings = [layer for layer in layers if type(layer) is keras.layers.Embedding]
    return (
        len(embeddings) == 1
        and embeddings[0].mask_zero
        and all(
            type(layer) in RULES
            and type(layer) is not keras.layers.Conv1D  # It drops the mask.
            and _is_plain(layer)
            for layer in layers
        )
    )


def _follow(node: Any, values: dict[int, Value]) -> None:
    """Add the facts of the outputs of a call to `values`, whose keys are the ids of tensors."""
    operation = node.operation
    inputs = [_value(argument, values) for argument in node.arguments.args]
    options = {name: value for name, value in node.arguments.kwargs.items() if value is not None}
    ranks = {
        len(tensor.shape)
        for tensor in keras.tree.flatten(node.arguments.args)
        if isinstance(tensor, keras.KerasTensor)
    }
    require(len(ranks) == 1)  # Values of different ranks would not broadcast position by position.
    (rank,) = ranks
    mask = None
    require(type(operation) in RULES)
    if isinstance(operation, keras.layers.Layer):
        mask = values.get(id(options.pop("mask", None)))
        options.pop("training", None)
        # Keras drops the mask of a call with several tensors, such as an initial state.
        require(_is_plain(operation) and len(inputs) == 1)
    require(not options)
    if len(inputs) == 1 and isinstance(inputs[0], list):
        (inputs,) = inputs
    is_masked = isinstance(mask, Tokens) and mask.marks_words
    value = RULES[type(operation)](Call(operation, inputs, rank=rank, is_masked=is_masked))
    first, *states = node.outputs
    # The states of a recurrent layer have a row for each text.
    values |= {id(first): value} | {id(state): Texts() for state in states}


def _value(argument: Any, values: dict[int, Value]) -> Any:
    if isinstance(argument, list | tuple):
        return [_value(part, values) for part in argument]
    if isinstance(argument, keras.KerasTensor):
        return values[id(argument)]
    if isinstance(argument, bool | int | float):
        return float(argument)
    raise ReadsPadding


def _is_plain(layer: Any) -> bool:
    """Return whether a layer has no option with which it may read the padding."""
    activation = getattr(layer, "activation", None)
    is_plain = (
        # A method that the user has set on the layer or on a part of it may do anything.
        not any({"call", "inner_loop"} & vars(part).keys() for part in layer._flatten_layers())
        and layer.activity_regularizer is None  # Its penalty includes the padding.
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and getattr(layer, "noise_shape", None) is None
        and (activation is None or activation in _ACTIVATIONS)
    )
    if type(layer) in RECURRENT:
        # With both options Keras reverses the sequence but not its mask.
        reverses = layer.go_backwards and layer.return_sequences
        return is_plain and _takes_any_length(layer) and not reverses
    if type(layer) is keras.layers.Bidirectional:
        directions = (layer.forward_layer, layer.backward_layer)
        are_plain = all(type(way) in RECURRENT and _takes_any_length(way) for way in directions)
        return is_plain and are_plain and not layer.forward_layer.go_backwards
    return is_plain


def _takes_any_length(layer: Any) -> bool:
    """Return whether a recurrent layer has Keras' own cell and activations and takes texts of any
    length: a layer that is stateful or unrolled needs a fixed length.
    """
    if type(layer.cell) not in (keras.layers.LSTMCell, keras.layers.GRUCell):
        return False
    stock = layer.activation in _ACTIVATIONS and layer.recurrent_activation in _ACTIVATIONS
    return stock and not layer.stateful and not layer.unroll and layer.activity_regularizer is None


def _embedding(call: Call) -> Value:
    require(isinstance(call.value, Tokens) and call.rank == 2)
    return Tokens()


def _dropout(call: Call) -> Value:
    value = call.value
    if isinstance(value, Texts):
        return value
    # A dropout sets values to 0, and multiplies the others by at least 1.
    return Tokens(
        padding=0 if value.padding == 0 else None, lowest=0 if value.lowest >= 0 else -math.inf
    )


def _by_position(call: Call) -> Value:
    if isinstance(call.value, Texts):
        return call.value
    # The layer reads the last axis, which is the positions of the text in a tensor of rank 2.
    require(call.rank == 3)
    return Tokens(lowest=_lowest(call.operation))


def _convolution(call: Call) -> Value:
    value, layer = call.value, call.operation
    # Keras itself puts zeros around a text, so a padding of zeros changes nothing.
    require(isinstance(value, Tokens) and value.padding == 0)
    require(layer.padding in ("same", "causal") and tuple(layer.strides) == (1,))
    return Tokens(lowest=_lowest(layer))


def _recurrent(call: Call) -> Value:
    require(isinstance(call.value, Tokens) and call.is_masked)
    layer = call.operation
    return Tokens(lowest=_lowest(layer)) if layer.return_sequences else Texts()


def _bidirectional(call: Call) -> Value:
    layer = call.operation
    require(isinstance(call.value, Tokens) and call.is_masked and layer.merge_mode is not None)
    both = (layer.forward_layer, layer.backward_layer)
    lowest = min(map(_lowest, both)) if layer.merge_mode in ("concat", "ave") else -math.inf
    return Tokens(lowest=lowest) if layer.return_sequences else Texts()


def _average(call: Call) -> Value:
    require(isinstance(call.value, Tokens) and call.is_masked)
    return Texts()


def _lowest(layer: Any) -> float:
    """Return a lower bound of a layer's outputs."""
    # An output of an LSTM is an activation times a gate, and an output of a GRU is a mean of
    # activations with the weights of a gate, if the gate is between 0 and 1.
    is_gate = type(layer) not in RECURRENT or (
        layer.recurrent_activation is keras.activations.sigmoid
    )
    return _LOWEST.get(layer.activation, -math.inf) if is_gate else -math.inf


def _cast(call: Call) -> Value:
    value = call.value
    require(call.operation.dtype in ("bool", "int32", "int64", "float32", "float64"))
    if isinstance(value, Texts):
        return value
    # A number between 0 and 1 may become 0, a number above 1 may become true (1).
    lowest = 1 if value.lowest >= 1 else min(value.lowest, 0)
    return Tokens(padding=0 if value.padding == 0 else None, lowest=lowest)


def _expand(call: Call) -> Value:
    require(call.rank == 2 and call.operation.axis in (-1, 2))
    return _as_tokens(call.value)


def _comparison(call: Call) -> Value:
    """Follow `x != 0` and `x > 0`."""
    value, other = call.inputs
    require(isinstance(value, Tokens) and other == 0)
    return Tokens(padding=0 if value.padding == 0 else None, lowest=1 if value.lowest > 0 else 0)


def _where(call: Call) -> Value:
    condition, *branches = call.inputs
    require(isinstance(condition, Tokens))
    yes, no = map(_as_tokens, branches)
    if condition.marks_words:
        return Tokens(padding=no.padding, lowest=yes.lowest)
    return Tokens(
        padding=no.padding if condition.padding == 0 else None, lowest=min(yes.lowest, no.lowest)
    )


def _multiply(call: Call) -> Value:
    if _are_of_texts(call.inputs):
        return Texts()
    factors = [_as_tokens(value) for value in call.inputs]
    is_positive = all(factor.lowest >= 0 for factor in factors)
    return Tokens(
        padding=0 if any(factor.padding == 0 for factor in factors) else None,
        lowest=math.prod(factor.lowest for factor in factors) if is_positive else -math.inf,
    )


def _extreme(call: Call) -> Value:
    if _are_of_texts(call.inputs):
        return Texts()
    first, second = map(_as_tokens, call.inputs)
    choose = min if type(call.operation) is numpy.Minimum else max
    padding = (
        None
        if first.padding is None or second.padding is None
        else choose(first.padding, second.padding)
    )
    return Tokens(padding=padding, lowest=choose(first.lowest, second.lowest))


def _elementwise(call: Call) -> Value:
    require(_are_of_texts(call.inputs))
    return Texts()


def _concatenate(call: Call) -> Value:
    require(_are_of_texts(call.inputs))
    require(call.operation.axis in (-1, call.rank - 1) and call.rank > 1)
    return Texts()


def _sum(call: Call) -> Value:
    value = call.value
    # Zeros at the padding add nothing.
    require(isinstance(value, Tokens) and value.padding == 0 and _is_over_text(call))
    return Texts()


def _maximum_of_text(call: Call) -> Value:
    value = call.value
    require(isinstance(value, Tokens) and _is_over_text(call))
    # A padding that is never above the words changes nothing.
    require(value.padding is not None and value.padding <= value.lowest)
    return Texts()


def _is_over_text(call: Call) -> bool:
    axis = call.operation.axis
    return bool(axis) and list(axis) in ([1], [1 - call.rank])


def _as_tokens(value: Any) -> Tokens:
    if isinstance(value, float):
        return Tokens(padding=value, lowest=value)
    if not isinstance(value, Tokens):
        raise ReadsPadding
    return value


def _are_of_texts(values: list[Any]) -> bool:
    return all(isinstance(value, Texts | float) for value in values)


RULES: dict[type, Callable[[Call], Value]] = {
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
    keras.layers.Concatenate: _concatenate,
    keras.layers.Multiply: _multiply,
    keras.layers.Add: _elementwise,
    keras.layers.Average: _elementwise,
    core.Cast: _cast,
    numpy.ExpandDims: _expand,
    numpy.NotEqual: _comparison,
    numpy.Greater: _comparison,
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
