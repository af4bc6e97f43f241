"""The outputs of a model: probabilities, or logits for a loss with `from_logits=True`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tuning.spaces.texts import names_of_inputs, takes_texts

if TYPE_CHECKING:
    import keras


# How often noise is added to the weights of a model, and its standard deviation, to see whether an
# output leaves 0 to 1. A bias alone stays inside in 1 of 10 million cases.
N_DRAWS, NOISE = 5, 10.0
ROUNDING = 1e-3  # A softmax in half precision may exceed 1 by this.
# Variables with more elements keep their values: the rows of an embedding need no noise.
MAX_ELEMENTS = 10**6
N_TOKENS = 32  # number of tokens of a text for a model that takes any number


def gives_probabilities(model: keras.Model, *, length: int = N_TOKENS) -> bool:
    """Return whether the output of a model is between 0 and 1, whatever its weights are. So a
    sigmoid or softmax counts wherever it is. A model that is not built, or can't be called, gives
    none.

    `length`: number of tokens of a text for a model whose input has no fixed length.
    """
    import keras

    if not all(layer.built for layer in model._flatten_layers()):
        return False
    draw = np.random.default_rng(0)
    variables = [v for v in model.trainable_variables if np.prod(v.shape) <= MAX_ELEMENTS]
    weights = [np.array(variable) for variable in variables]
    try:
        inputs = _example(model, length)
        for _ in range(N_DRAWS):
            for variable, values in zip(variables, weights, strict=True):
                variable.assign(values + draw.normal(0, NOISE, values.shape))
            (output,) = keras.tree.flatten(model(inputs))  # An output may be in a dictionary.
            numbers = np.asarray(output, dtype=np.float64)
            if not ((numbers >= -ROUNDING) & (numbers <= 1 + ROUNDING)).all():
                return False
    # The user's code may raise any exception, for example without the vocabulary of a layer.
    except Exception:  # noqa: BLE001
        return False
    finally:
        for variable, values in zip(variables, weights, strict=True):
            variable.assign(values)
    return True


def _example(model: keras.Model, length: int) -> Any:
    """Return the input of a model for two texts."""
    import keras

    tensors = getattr(model, "inputs", None) or []
    if takes_texts(model):
        texts = np.array(["good", "bad"], dtype=object)
        is_column = bool(tensors) and tensors[0].ndim == 2  # A subclassed model has no inputs.
        return keras.ops.convert_to_tensor(texts[:, None] if is_column else texts)
    arrays = [np.ones((2, tensor.shape[1] or length), np.int32) for tensor in tensors]
    struct = getattr(model, "_inputs_struct", None)  # Keras warns of another structure.
    if isinstance(struct, dict):
        return dict(zip(names_of_inputs(model), arrays, strict=True))
    if isinstance(struct, list | tuple):
        return arrays
    return arrays[0] if arrays else np.ones((2, length), np.int32)


def note_of_outputs(model: keras.Model) -> tuple[str, ...]:
    """Return a sentence if a model that gives probabilities has a loss for logits.

    Keras computes the loss of the logits if it finds the sigmoid or softmax before the loss. It
    finds none in mixed precision, for example, and then takes the probabilities for logits.
    """
    import keras

    for loss in keras.tree.flatten(getattr(model, "loss", None)):
        is_declared = getattr(loss, "from_logits", False)
        if isinstance(loss, functools.partial):
            is_declared = loss.keywords.get("from_logits", False)
        if is_declared and (_ends_with_probabilities(model) or gives_probabilities(model)):
            return (
                "The model gives probabilities to a loss with from_logits=True, which may train it"
                " on wrong values. Write from_logits=False in the loss.",
            )
    return ()


def _ends_with_probabilities(model: keras.Model) -> bool:
    """Return whether the last layer of a `Sequential`, which may not be built, is a sigmoid or
    softmax.
    """
    import keras

    last = model.layers[-1] if isinstance(model, keras.Sequential) and model.layers else None
    functions = (keras.activations.sigmoid, keras.activations.softmax)
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in functions
