"""What the compiled loss of a model takes, by its target, and the layer after a model of logits."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from tuning.errors import SpaceBug
from tuning.inputs.kinds import TEXTS
from tuning.spaces.files import run_user_code
from tuning.spaces.models import ends_with, gives_probabilities
from tuning.targets.target import LabelEncoder, Target
from tuning.training.architecture import as_graph, input_names, output_of
from tuning.training.vocabularies import placeholder_vocabularies

# Name of the layer that makes probabilities of logits.
PROBABILITIES = "probabilities_of_logits"


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
    shape = () if loss is None else _output_shape(model, sequence_length)
    encoder, activation = run_user_code(
        lambda: target.form_of(loss, shape), doing="trying its loss"
    )
    if not target.is_exclusive and ends_with(model, keras.activations.softmax):
        raise SpaceBug(
            "A model of several labels must give each its own probability; a softmax makes their"
            " sum 1. End the model with a sigmoid.",
            traceback="",
        )
    if activation is None:
        return LossForm(encoder)
    # A loss for logits says nothing certain about the output: a model with a sigmoid or softmax may
    # have one too, because Keras looks for the logits before the activation.
    graph = as_graph(model, sequence_length=sequence_length)
    with placeholder_vocabularies(model):
        if gives_probabilities(graph, length=sequence_length):
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
        raise SpaceBug(
            f"A model must give one tensor of class probabilities; this model gives {output!r}.",
            traceback="",
        )
    # Keras adds the dimension 1 of an input (batch, 1) to the shape that it computes for the counts
    # of a `TextVectorization`, whose values do not have it.
    is_doubled = len(sizes) == 2 and sizes[0] == 1 and input_names(model) == (TEXTS.name,)
    return sizes[1:] if is_doubled else sizes
