"""The form of labels that a model's compiled loss takes."""

from typing import Any

import keras
import pytest

from tuning.errors import SpaceBug
from tuning.targets.labels import MultiLabel
from tuning.training.architecture import ensure_built
from tuning.training.loss_form import form_of_loss

TARGET = MultiLabel(("a", "b", "c"))


def model(*last: keras.layers.Layer, loss: Any = "binary_crossentropy") -> keras.Model:
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 2)(ids))
    for layer in last:
        x = layer(x)
    built = keras.Model(ids, x)
    built.compile("adam", loss)
    return built


def dense(activation: str | None = None) -> keras.layers.Layer:
    return keras.layers.Dense(3, activation)


@pytest.mark.parametrize(
    "last",
    [
        (dense("softmax"),),
        (dense(), keras.layers.Softmax()),
        (dense(), keras.layers.Activation("softmax")),
    ],
)
def test_softmax_of_several_labels_is_refused(last: tuple[keras.layers.Layer, ...]) -> None:
    with pytest.raises(SpaceBug, match="End the model with a sigmoid"):
        form_of_loss(model(*last), TARGET, sequence_length=4)


def test_logits_of_several_labels_get_a_sigmoid() -> None:
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    layer = form_of_loss(model(dense(), loss=loss), TARGET, sequence_length=4).to_probabilities
    assert layer is not None and layer.activation is keras.activations.sigmoid
    ends_with_sigmoid = model(dense("sigmoid"), loss=loss)
    assert form_of_loss(ends_with_sigmoid, TARGET, sequence_length=4).to_probabilities is None


class Gated(keras.Model):
    """A model of logits with a sigmoid inside."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.last = keras.layers.Embedding(9, 2), keras.layers.Dense(3)
        self.gate = keras.layers.Dense(2, "sigmoid")

    def call(self, ids: Any) -> Any:
        x = self.embed(ids)
        return self.last(keras.ops.mean(x * self.gate(x), axis=1))


def test_logits_of_a_model_with_a_sigmoid_inside_get_a_sigmoid() -> None:
    gated = Gated()
    gated.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    ensure_built(gated, sequence_length=4)
    assert form_of_loss(gated, TARGET, sequence_length=4).to_probabilities is not None


class NeedsTraining(Gated):
    """A model of probabilities whose `call` has the argument `training` without a default."""

    def call(self, ids: Any, training: bool) -> Any:
        return keras.ops.sigmoid(super().call(ids))


def test_call_that_must_be_told_whether_it_trains_is_tried() -> None:
    made = NeedsTraining()
    made.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    ensure_built(made, sequence_length=4)
    assert form_of_loss(made, TARGET, sequence_length=4).to_probabilities is None
