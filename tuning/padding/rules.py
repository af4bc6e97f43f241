"""The treatment of the padding after a text by each operation and each layer of a graph.

A rule takes a call of an operation or layer, with the known facts of its inputs, and returns the
known facts of its output. `RULES` has the rule of each operation and layer that is known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.ops import core, numpy

RECURRENT = (keras.layers.LSTM, keras.layers.GRU)
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

    The values at the words never depend on the number of padding columns. A tensor whose values are
    0 at the padding and positive at the words marks the words: the token ids themselves, and a
    mask.

    Args:
        padding: the value at the padding, or None if it is not known.
        lowest: a lower bound of the values at the words.
    """

    padding: float | None = None
    lowest: float = -math.inf

    @property
    def marks_words(self) -> bool:
        """Whether the values are 0 at the padding and positive at the words."""
        return self.padding == 0 and self.lowest > 0


@dataclass(frozen=True)
class Texts:
    """A tensor with a row for each text. The rows do not depend on the padding."""


Value = Tokens | Texts


@dataclass(frozen=True)
class Call:
    """A call of an operation or layer.

    Args:
        operation: the operation or layer.
        inputs: the known facts of each input tensor, or the number itself as a float.
        rank: number of axes of the input tensors.
        is_masked: whether a layer gets a mask that marks the words.
    """

    operation: Any
    inputs: list[Any]
    rank: int
    is_masked: bool

    @property
    def value(self) -> Any:
        """The known facts of the only input."""
        require(len(self.inputs) == 1)
        return self.inputs[0]


class ReadsPadding(Exception):
    """Raised for an operation that may read the padding, or has no rule."""


def require(condition: bool) -> None:
    """Check a condition under which an operation does not read the padding.

    Raises:
        ReadsPadding: the condition is false.
    """
    if not condition:
        raise ReadsPadding


def _embedding(call: Call) -> Value:
    require(isinstance(call.value, Tokens) and call.rank == 2)
    return Tokens()


def _dropout(call: Call) -> Value:
    """Follow a dropout, which sets values to 0 and multiplies the others by at least 1."""
    value = call.value
    if isinstance(value, Texts):
        return value
    return Tokens(
        padding=0 if value.padding == 0 else None, lowest=0 if value.lowest >= 0 else -math.inf
    )


def _by_position(call: Call) -> Value:
    """Follow a layer that reads the last axis, which must not be the positions of the text."""
    if isinstance(call.value, Texts):
        return call.value
    require(call.rank == 3)
    return Tokens(lowest=_lowest(call.operation))


def _convolution(call: Call) -> Value:
    """Follow a convolution: Keras pads a text with zeros, so a padding of zeros changes nothing."""
    value, layer = call.value, call.operation
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
    """Return a lower bound of a layer's outputs. An output of an LSTM is an activation times a
    number between 0 and 1, and an output of a GRU is a mean of activations.
    """
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
    lowest = min(value.lowest, 1) if value.lowest >= 1 else min(value.lowest, 0)
    return Tokens(padding=0 if value.padding == 0 else None, lowest=lowest)


def _expand(call: Call) -> Value:
    require(call.rank == 2 and call.operation.axis in (-1, 2))
    return _as_tokens(call.value)


def _comparison(call: Call) -> Value:
    """Follow `x != 0` and `x > 0`, which are true where `x` marks the words."""
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
    """Follow the minimum or the maximum of two values."""
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
    """Follow the sum over a text: zeros at the padding add nothing."""
    value = call.value
    require(isinstance(value, Tokens) and value.padding == 0 and _is_over_text(call))
    return Texts()


def _maximum_of_text(call: Call) -> Value:
    """Follow the maximum over a text: a padding that is never above the words changes nothing."""
    value = call.value
    require(isinstance(value, Tokens) and _is_over_text(call))
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
    """Return whether a list contains only rows of texts and numbers."""
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
