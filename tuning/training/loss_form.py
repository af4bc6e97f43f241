"""What the compiled loss of a model takes, by its target, and the layer after a model of logits."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from tuning.errors import SpaceBug
from tuning.inputs.kinds import TEXTS
from tuning.spaces.files import run_user_code
from tuning.targets.target import LabelEncoder, Target
from tuning.training.architecture import inference_arguments, input_names, output_of
from tuning.training.prediction import example_input, without_objects
from tuning.training.vocabularies import placeholder_vocabularies

# Name of the layer that makes probabilities of logits.
PROBABILITIES = "probabilities_of_logits"
# How often noise is added to the weights of a model, and its standard deviation, to see whether an
# output leaves 0 to 1. A bias alone stays inside in 1 of 10 million cases.
N_DRAWS, NOISE = 5, 10.0
ROUNDING = 1e-3  # A softmax in half precision may exceed 1 by this.
# Variables with more elements keep their values: the rows of an embedding need no noise.
MAX_ELEMENTS = 10**6


@dataclass(frozen=True)
class LossForm:
    """`to_probabilities` is the layer that makes probabilities of the model's output; None if the
    output is probabilities.
    """

    encode_labels: LabelEncoder
    to_probabilities: keras.layers.Activation | None = None


def form_of_loss(model: keras.Model, target: Target, *, sequence_length: int) -> LossForm:
    loss = model.loss
    if isinstance(loss, dict | list | tuple) and len(loss) == 1:
        (loss,) = loss.values() if isinstance(loss, dict) else loss
    try:
        shape = _output_shape(model, sequence_length)
    except SpaceBug:
        if loss is not None:
            raise
        shape = ()  # A `train_step` of the user takes outputs of any structure.
    encoder, activation = run_user_code(
        lambda: target.form_of(loss, shape), doing="trying its loss"
    )
    last = model.layers[-1] if model.layers else model
    is_softmax = getattr(last, "activation", None) is keras.activations.softmax
    if not target.is_exclusive and (is_softmax or isinstance(last, keras.layers.Softmax)):
        raise SpaceBug(
            "A model of several labels must give each its own probability; a softmax makes their"
            " sum 1. End the model with a sigmoid.",
        )
    if activation is None:
        return LossForm(encoder)
    # A loss for logits says nothing certain about the output: a model with a sigmoid or softmax may
    # have one too, because Keras looks for the logits before the activation.
    with placeholder_vocabularies(model):
        if _gives_probabilities(model, sequence_length=sequence_length):
            return LossForm(encoder)
    # Half precision would round the probabilities.
    layer = keras.layers.Activation(activation, dtype="float32", name=PROBABILITIES)
    return LossForm(encoder, layer)


def _output_shape(model: keras.Model, sequence_length: int) -> tuple[int, ...]:
    output = (
        model.outputs[0]
        if len(getattr(model, "outputs", None) or ()) == 1
        else output_of(model, sequence_length=sequence_length)
    )
    sizes = tuple(getattr(output, "shape", ())[1:])
    if not sizes or not all(isinstance(size, int) for size in sizes):
        shapes = keras.tree.map_structure(lambda part: getattr(part, "shape", part), output)
        raise SpaceBug(
            f"A model must give one tensor of shape (batch, n); this model gives {shapes}. End the"
            " model with one Dense layer.",
        )
    # Keras adds the dimension 1 of an input (batch, 1) to the shape that it computes for the counts
    # of a `TextVectorization`, whose values do not have it.
    is_doubled = len(sizes) == 2 and sizes[0] == 1 and input_names(model) == (TEXTS.name,)
    return sizes[1:] if is_doubled else sizes


def _gives_probabilities(model: keras.Model, *, sequence_length: int) -> bool:
    """Return whether the output of a model is between 0 and 1, whatever its weights are. A model
    that can't be called gives no probabilities.
    """
    # The last layer does not tell: a sigmoid may be followed by `Flatten`, and a gate inside a
    # subclassed model of logits may be a sigmoid.
    draw = np.random.default_rng(0)
    variables = [v for v in model.trainable_variables if np.prod(v.shape) <= MAX_ELEMENTS]
    weights = [np.array(variable) for variable in variables]
    try:
        example = example_input(model, {"sequence_length": sequence_length}, n_rows=2)
        inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, without_objects(example))
        for _ in range(N_DRAWS):
            for variable, values in zip(variables, weights, strict=True):
                variable.assign(values + draw.normal(0, NOISE, values.shape))
            output = model(inputs, **inference_arguments(model))
            (output,) = keras.tree.flatten(output)  # A model may return it in a dictionary.
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
