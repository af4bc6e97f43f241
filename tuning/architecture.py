"""What a model consists of: its variables, the layers that ignore padding, and a graph of a subclassed model."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional
from keras.src.ops.numpy import NotEqual

GRAPHS = (keras.Sequential, Functional)  # by `type`: a subclass may read anything in its own `call`

# Layers whose result for right-padded masked texts does not depend on how much padding there is.
_PADDING_PROOF = (
    keras.layers.InputLayer,
    keras.layers.Embedding,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.Bidirectional,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.Dense,
    keras.layers.Activation,
)
# Keras' own activations look at one position alone; a function of the user's may be a softmax over all positions.
_ACTIVATIONS = frozenset(value for value in vars(keras.activations).values() if inspect.isfunction(value))


def ensure_built(model: keras.Model, *, sequence_length: int) -> None:
    """Create the variables of a model that was built without an input shape: a `Sequential` without `keras.Input`, a subclass.

    Such a `Sequential` gets an int32 input of any length if its layers ignore padding, else of `sequence_length`. Keras itself would give
    it a float input, which is what an export would then ask for.
    """
    if all(layer.built for layer in model._flatten_layers()):
        return
    if type(model) is keras.Sequential and not model.built:
        _add_input(model, None if _are_padding_proof(model.layers) else sequence_length)
    elif model.run_eagerly:  # its code may need numbers
        model(np.zeros((1, sequence_length), np.int32))
    else:
        model(keras.KerasTensor((None, sequence_length), dtype="int32"))


def _add_input(model: keras.Sequential, length: int | None) -> None:
    layers = list(model.layers)
    for _ in layers:
        model.pop(rebuild=False)
    model.add(keras.Input((length,), dtype="int32", name="ids"))
    for layer in layers:
        model.add(layer, rebuild=layer is layers[-1])


def ignores_padding(model: keras.Model) -> bool:
    """Whether more or less padding after a text changes nothing: the padding is masked, and only layers that honour the mask follow.

    True only of a `Sequential` or functional model in which every operation is a layer that is listed here, with options under which it
    honours the mask.
    """
    if type(model) not in GRAPHS or len(model.inputs) != 1 or model.inputs[0].shape[1:] != (None,):
        return False
    graph = model._functional if type(model) is keras.Sequential else model
    return _are_padding_proof([one for one in graph.operations if not _is_padding_mask(one, model.inputs[0])])


def _is_padding_mask(operation: Any, ids: keras.KerasTensor) -> bool:
    """Whether an operation is `ids != 0`, by which Keras computes the mask of an `Embedding`."""
    calls = [node.arguments.args for node in operation._inbound_nodes]
    return type(operation) is NotEqual and all(call[0] is ids and call[1] == 0 for call in calls)


def _are_padding_proof(layers: Sequence[Any]) -> bool:
    embeddings = [layer for layer in layers if isinstance(layer, keras.layers.Embedding)]
    return len(embeddings) == 1 and embeddings[0].mask_zero and all(_is_padding_proof(layer) for layer in layers)


def _is_padding_proof(layer: Any) -> bool:
    """A penalty on a layer's output counts the padding; a recurrent layer that carries a state or is unrolled needs a fixed length."""
    if type(layer) not in _PADDING_PROOF or layer.activity_regularizer is not None:
        return False
    if type(layer) is keras.layers.Bidirectional:
        both = (layer.forward_layer, layer.backward_layer)
        return not layer.forward_layer.go_backwards and all(type(one) in _RECURRENT and _is_open(one) for one in both)
    if type(layer) in _RECURRENT:
        return _is_open(layer) and not (layer.go_backwards and layer.return_sequences)  # the mask is not turned round with the sequence
    if type(layer) is keras.layers.GlobalAveragePooling1D:
        return bool(layer.data_format == "channels_last")
    return getattr(layer, "activation", None) is None or layer.activation in _ACTIVATIONS


_RECURRENT = (keras.layers.LSTM, keras.layers.GRU)


def _is_open(layer: Any) -> bool:
    return not layer.stateful and not layer.unroll and layer.activity_regularizer is None


def is_stock(model: keras.Model) -> bool:
    """Whether a model consists of Keras' own classes alone, so that Keras can load it without any code of the search space."""
    return all(type(layer).__module__.startswith("keras.") for layer in model._flatten_layers())


def as_graph(model: keras.Model, *, sequence_length: int) -> keras.Model:
    """The same layers as a functional model without an optimizer, which would be two thirds of a `.keras` file.

    A subclassed model is traced: its `call` is called with a symbolic input of int32 ids (batch, sequence_length). A `call` that Keras
    can't trace leaves the model as it is.
    """
    if type(model) in GRAPHS:
        return keras.Model(model.inputs, model.outputs, name=model.name)
    ids = keras.Input((sequence_length,), dtype="int32", name="ids")
    training = {"training": False} if "training" in inspect.signature(model.call).parameters else {}
    try:
        return keras.Model(ids, model.call(ids, **training), name=model.name)
    except Exception:  # noqa: BLE001  # whatever the user's code raises when it gets symbolic tensors
        return model
