"""The structure of a Keras model: its inputs, its variables, whether it ignores padding, and its
layers as a functional model.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras.src.models.functional import Functional

from tuning.errors import SpaceBug
from tuning.inputs.kinds import IDS, KINDS, TEXTS, kind_of, require_readable
from tuning.padding import check
from tuning.padding.packing import packed
from tuning.spaces.models import names_of_inputs, takes_texts

# Models whose layers form a graph. They are compared by `type`, because a subclass may do anything
# in its own `call`.
GRAPHS = (keras.Sequential, Functional)


def is_graph(model: keras.Model) -> bool:
    # The layers of a subclass form a graph too, if the subclass passes its inputs and outputs to
    # `keras.Model` and has no `call` of its own.
    return type(model) in GRAPHS or (
        isinstance(model, Functional) and type(model).call is Functional.call
    )


def input_names(model: keras.Model) -> tuple[str, ...]:
    """Return the names of a model's inputs, in the order of `model.inputs`. If a model was made
    with a dictionary of inputs, the names are its keys.

    A model whose layers form a graph and that has an input named "ngrams" takes the n-grams of a
    text. A model with an input named "tokens" takes the tokens of a preset, and with "features"
    what the preset's encoder gives for them. Beside these it may take token ids. A model whose
    input is strings takes the texts. Every other model takes token ids.
    """
    if takes_texts(model):
        return (TEXTS.name,)
    # A Sequential without an input shape has no inputs.
    if not is_graph(model) or not getattr(model, "inputs", None):
        return (IDS.name,)
    names = names_of_inputs(model)
    require_readable(names)
    for name, tensor in zip(names, model.inputs, strict=True):
        if kind_of(name).varies and tensor.shape[1:] != (None,):
            raise SpaceBug(
                f"The input named {name!r} must have the shape (None,), because the number of"
                f" {name} differs between texts; this input has the shape {tensor.shape[1:]}."
                f" {other_name(name)}",
            )
    return names if any(name in KINDS for name in names) else (IDS.name,)


def ensure_built(model: keras.Model, *, sequence_length: int) -> None:
    """Create the variables of a model that was built without an input shape, such as a subclassed
    model or a `Sequential` without `keras.Input`.

    Such a `Sequential` gets an int32 input, or an input of strings if it contains a
    `TextVectorization`. The length of the input is not fixed if the layers ignore padding, and is
    `sequence_length` otherwise.
    """
    if all(layer.built for layer in model._flatten_layers()):
        return
    if type(model) is keras.Sequential and not model.built:
        any_length = not takes_texts(model) and check.takes_any_length(model.layers)
        layers = list(model.layers)
        # Keras itself would give the model a float input, and an export would then expect floats.
        tensor = _input_of(model, None if any_length else sequence_length)
        # `Sequential.add` puts an input behind existing layers, so the model is emptied first.
        for _ in layers:
            model.pop(rebuild=False)
        model.add(tensor)
        for layer in layers:
            model.add(layer, rebuild=layer is layers[-1])
    else:
        output_of(model, sequence_length=sequence_length)


def output_of(model: keras.Model, *, sequence_length: int) -> Any:
    """Return the output of a model for int32 ids of shape (batch, sequence_length), or for texts of
    shape (batch,).
    """
    arguments = inference_arguments(model)
    # A model of texts gets a symbolic tensor even if it runs eagerly, because its
    # `TextVectorization` may have no vocabulary yet.
    if takes_texts(model):
        return model(keras.KerasTensor((None,), dtype="string"), **arguments)
    if model.run_eagerly:  # The code of such a model may need numbers.
        return model(np.zeros((1, sequence_length), np.int32), **arguments)
    return model(keras.KerasTensor((None, sequence_length), dtype="int32"), **arguments)


def inference_arguments(model: keras.Model) -> dict[str, bool]:
    return {"training": False} if "training" in inspect.signature(model.call).parameters else {}


def _input_of(model: keras.Model, length: int | None) -> keras.KerasTensor:
    if takes_texts(model):
        return keras.Input((), dtype="string", name="text")
    return keras.Input((length,), dtype="int32", name=IDS.name)


def other_name(name: str) -> str:
    """Return the remedy for an input of token ids that has the name of another kind of input."""
    return f"If the input {name!r} takes token ids, give it another name."


def ignores_padding(model: keras.Model) -> bool:
    """Return whether a model's output is independent of the padding after a text.

    The result is True only for a `Sequential` or functional model whose inputs have no fixed
    length, and of which every operation is known to skip the padding (`check.is_ignored`).
    """
    if type(model) not in GRAPHS or "call" in vars(model):  # An own `call` may do anything.
        return False
    if any(ids.shape[1:] != (None,) for ids in model.inputs):
        return False
    if len(model.inputs) != len(input_names(model)):
        return False
    return check.is_ignored(_graph_of(model))


def _graph_of(model: keras.Model) -> Functional:
    return model._functional if type(model) is keras.Sequential else model


def without_padding(
    model: keras.Model, lengths: npt.NDArray[np.int64]
) -> contextlib.AbstractContextManager[bool]:
    """Return a context in which a model's training does not compute the padding of its token ids,
    if its output does not depend on the padding (`packing.packed`). The context's value is whether
    the padding is left out. `lengths`: number of tokens of the training texts, at most the
    `sequence_length`.
    """
    kinds = [kind_of(name) for name in input_names(model)]
    if IDS not in kinds or model.jit_compile is True or not ignores_padding(model):
        return contextlib.nullcontext(False)
    return packed(_graph_of(model), kinds.index(IDS), lengths)


def is_stock(model: keras.Model) -> bool:
    """Return whether Keras can load a saved model without the code of the search space, because the
    model contains no classes or functions of the user.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras emits a warning for each lambda.
            return _is_stock_config(keras.saving.serialize_keras_object(model))
    except Exception:  # noqa: BLE001 - Keras or a `get_config` of the user can't write the config.
        return False


def _is_stock_config(config: Any) -> bool:
    # Keras writes its own functions as names, a user's function as an object, and some lambdas as a
    # dictionary with the single key "value".
    if isinstance(config, dict):
        is_function = config.get("class_name") in ("function", "__lambda__", "Lambda")
        is_lambda = set(config) == {"value"}
        # A module of the user may be called keras_layers.
        package = str(config.get("module") or "keras").split(".")[0]
        is_of_keras = package in ("keras", "keras_hub")
        is_stock_object = is_of_keras and not is_function and not is_lambda
        return is_stock_object and all(map(_is_stock_config, config.values()))
    return all(map(_is_stock_config, config)) if isinstance(config, list | tuple) else True


def as_graph(model: keras.Model, *, sequence_length: int) -> keras.Model:
    """Return a model with the same layers as a functional model without an optimizer, whose
    variables would be two thirds of a `.keras` file.

    A subclassed model is traced by a call with symbolic inputs: int32 ids of shape (batch,
    sequence_length), or texts of shape (batch,). The model itself is returned if that fails.
    """
    # The model may be nested beside the layers that take raw text: Keras refuses two layers of one
    # name.
    is_taken = model.name in ("text", "tokenize", "tokenize_ngrams")
    name = f"{model.name}_model" if is_taken else str(model.name)
    if is_graph(model):
        return keras.Model(model.inputs, model.outputs, name=name)
    inputs = _input_of(model, sequence_length)
    try:
        outputs = keras.tree.flatten(model.call(inputs, **inference_arguments(model)))
        graph = keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)
    # The user's code may raise any exception for symbolic tensors.
    except Exception:  # noqa: BLE001
        return model
    # A functional model would contain weights outside the layers as constants.
    return graph if len(graph.weights) == len(model.weights) else model


def ended_with(
    layer: keras.layers.Layer, model: keras.Model, *, sequence_length: int
) -> keras.Model:
    """Return a functional model that gives the output of a model to one more layer. A model whose
    layers form no graph is a layer of the functional model.
    """
    if is_graph(model):
        inputs, outputs = model.inputs, model.outputs
    else:
        inputs = _input_of(model, sequence_length)
        outputs = keras.tree.flatten(model(inputs, **inference_arguments(model)))
    return keras.Model(inputs, layer(outputs[0]), name=model.name)
