"""A check whether the output of a graph of Keras operations is independent of the padding.

The operations are followed from the token ids to the output: the rule of each operation
(`rules`) gives the known facts of its output. An operation that has no rule may read the
padding, and the result is then no.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras.src.models.functional import Functional

from tuning.padding.rules import (
    RECURRENT,
    RULES,
    Call,
    ReadsPadding,
    Texts,
    Tokens,
    Value,
    require,
)

# Keras' own activations read one position at a time. A user's function may be a softmax over all
# positions.
_ACTIVATIONS = frozenset(
    value for value in vars(keras.activations).values() if inspect.isfunction(value)
)


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
    except ReadsPadding:
        return False
    return all(isinstance(values[id(output)], Texts) for output in graph.outputs)


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
    """Add the known facts of the outputs of a call to `values`, whose keys are the ids of tensors.

    Raises:
        ReadsPadding: the operation may read the padding.
    """
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
    """Return the known facts of an argument: a tensor, a list of tensors, or a number.

    Raises:
        ReadsPadding: the argument is of another kind.
    """
    if isinstance(argument, list | tuple):
        return [_value(part, values) for part in argument]
    if isinstance(argument, keras.KerasTensor):
        return values[id(argument)]
    if isinstance(argument, bool | int | float):
        return float(argument)
    raise ReadsPadding


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
        and (type(layer) not in RECURRENT or _is_plain_recurrent(layer))
        and (type(layer) is not keras.layers.Bidirectional or _is_plain_bidirectional(layer))
    )


def _is_plain_recurrent(layer: Any) -> bool:
    # With both options Keras reverses the sequence but not its mask.
    return _takes_any_length(layer) and not (layer.go_backwards and layer.return_sequences)


def _is_plain_bidirectional(layer: Any) -> bool:
    directions = (layer.forward_layer, layer.backward_layer)
    return not layer.forward_layer.go_backwards and all(
        type(direction) in RECURRENT and _takes_any_length(direction) for direction in directions
    )


def _takes_any_length(layer: Any) -> bool:
    """Return whether a recurrent layer has Keras' own activations and takes texts of any length: a
    layer that is stateful or unrolled needs a fixed length.
    """
    stock = layer.activation in _ACTIVATIONS and layer.recurrent_activation in _ACTIVATIONS
    return stock and not layer.stateful and not layer.unroll and layer.activity_regularizer is None
