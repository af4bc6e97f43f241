"""What a model consists of: its variables, the layers that ignore padding, and a graph of a
subclassed model.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional
from keras.src.ops.numpy import NotEqual

GRAPHS = (keras.Sequential, Functional)  # by `type`: a subclass may read anything in its own `call`

# Layers whose result for right-padded masked texts does not depend on how much padding there is.
_PADDING_PROOF = (
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
# Keras' own activations look at one position alone; a function of the user's may be a softmax over
# all positions.
_ACTIVATIONS = frozenset(
    value for value in vars(keras.activations).values() if inspect.isfunction(value)
)


def ensure_built(model: keras.Model, *, sequence_length: int) -> None:
    """Create the variables of a model that was built without an input shape: a `Sequential` without
    `keras.Input`, a subclass.

    Such a `Sequential` gets an int32 input of any length if its layers ignore padding, else of
    `sequence_length`. Keras itself would give it a float input, which is what an export would then
    ask for.
    """
    if all(layer.built for layer in model._flatten_layers()):
        return
    if type(model) is keras.Sequential and not model.built:
        _add_input(model, None if _are_padding_proof(model.layers) else sequence_length)
    else:
        output_of(model, sequence_length=sequence_length)


def output_of(model: keras.Model, *, sequence_length: int) -> Any:
    """What a model gives for ids (batch, sequence_length): symbolic, or numbers of a model that
    runs eagerly, whose code may need them.
    """
    training = _inference(model)
    if model.run_eagerly:
        return model(np.zeros((1, sequence_length), np.int32), **training)
    return model(keras.KerasTensor((None, sequence_length), dtype="int32"), **training)


def _inference(model: keras.Model) -> dict[str, bool]:
    """The argument that says that a call is no training, for a `call` that takes it."""
    return {"training": False} if "training" in inspect.signature(model.call).parameters else {}


def _add_input(model: keras.Sequential, length: int | None) -> None:
    layers = list(model.layers)
    for _ in layers:
        model.pop(rebuild=False)
    model.add(keras.Input((length,), dtype="int32", name="ids"))
    for layer in layers:
        model.add(layer, rebuild=layer is layers[-1])


def ignores_padding(model: keras.Model) -> bool:
    """Whether more or less padding after a text changes nothing: the padding is masked, and only
    layers that honour the mask follow.

    True only of a `Sequential` or functional model in which every operation is a layer that is
    listed here, with options under which it honours the mask.
    """
    if type(model) not in GRAPHS or len(model.inputs) != 1 or model.inputs[0].shape[1:] != (None,):
        return False
    graph = model._functional if type(model) is keras.Sequential else model
    layers = [one for one in graph.operations if not _is_padding_mask(one, model.inputs[0])]
    return _are_padding_proof(layers) and all(_gets_one_tensor(layer) for layer in layers)


def _gets_one_tensor(operation: Any) -> bool:
    """Whether an operation is called with one tensor alone, beside a mask: with several, such as an
    initial state, Keras drops the mask.
    """
    calls = [node.arguments for node in operation._inbound_nodes if node.input_tensors]
    return all(
        len(call.args) == 1 and not set(call.kwargs) - {"mask", "training"} for call in calls
    )


def _is_padding_mask(operation: Any, ids: keras.KerasTensor) -> bool:
    """Whether an operation is `ids != 0`, by which Keras computes the mask of an `Embedding`."""
    calls = [node.arguments.args for node in operation._inbound_nodes]
    return type(operation) is NotEqual and all(call[0] is ids and call[1] == 0 for call in calls)


def _are_padding_proof(layers: Sequence[Any]) -> bool:
    embeddings = [layer for layer in layers if isinstance(layer, keras.layers.Embedding)]
    return (
        len(embeddings) == 1
        and embeddings[0].mask_zero
        and all(_is_padding_proof(layer) for layer in layers)
    )


def _is_padding_proof(layer: Any) -> bool:
    """A penalty on a layer's output counts the padding; a recurrent layer that carries a state or
    is unrolled needs a fixed length.
    """
    if type(layer) is keras.layers.InputLayer:
        return True
    listed = (
        type(layer) in _PADDING_PROOF
        and layer.activity_regularizer is None
        and layer.supports_masking
    )
    return bool(listed and _honours_the_mask(layer))


def _honours_the_mask(layer: Any) -> bool:
    if type(layer) is keras.layers.Bidirectional:
        both = (layer.forward_layer, layer.backward_layer)
        return not layer.forward_layer.go_backwards and all(
            type(one) in _RECURRENT and _is_open(one) for one in both
        )
    if type(layer) in _RECURRENT:
        return _is_open(layer) and not (
            layer.go_backwards and layer.return_sequences
        )  # the mask is not turned round with the sequence
    channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    activation = getattr(layer, "activation", None)
    return (
        channels_last
        and getattr(layer, "noise_shape", None) is None
        and (activation is None or activation in _ACTIVATIONS)
    )


_RECURRENT = (keras.layers.LSTM, keras.layers.GRU)


def _is_open(layer: Any) -> bool:
    stock = layer.activation in _ACTIVATIONS and layer.recurrent_activation in _ACTIVATIONS
    return stock and not layer.stateful and not layer.unroll and layer.activity_regularizer is None


def is_stock(model: keras.Model) -> bool:
    """Whether Keras can load a model without any code of the search space: it has neither classes
    nor functions of the user's own.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of each lambda
            return _is_stock_config(keras.saving.serialize_keras_object(model))
    except (NotImplementedError, TypeError, ValueError):  # what can't be written can't be loaded
        return False


def _is_stock_config(config: Any) -> bool:
    """Keras writes its own functions as names, a function of the user's as an object, and some
    lambdas as a bare "value" of bytes.
    """
    if isinstance(config, dict):
        is_own = config.get("class_name") in ("function", "__lambda__", "Lambda") or set(
            config
        ) == {"value"}
        is_own = is_own or not str(config.get("module") or "keras").startswith("keras")
        return not is_own and all(map(_is_stock_config, config.values()))
    return all(map(_is_stock_config, config)) if isinstance(config, list | tuple) else True


def as_graph(model: keras.Model, *, sequence_length: int) -> keras.Model:
    """The same layers as a functional model without an optimizer, which would be two thirds of a
    `.keras` file.

    A subclassed model is traced: its `call` is called with a symbolic input of int32 ids (batch,
    sequence_length). A model stays as it is where Keras can't trace its `call`, or where it owns
    weights that are not in a layer, which a graph would hold as constants.
    """
    if type(model) in GRAPHS:
        return keras.Model(model.inputs, model.outputs, name=model.name)
    ids = keras.Input((sequence_length,), dtype="int32", name="ids")
    try:
        graph = keras.Model(ids, model.call(ids, **_inference(model)), name=model.name)
    except Exception:  # noqa: BLE001  # whatever the user's code raises when it gets symbolic tensors
        return model
    return graph if len(graph.weights) == len(model.weights) else model
