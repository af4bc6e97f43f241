"""The form of labels that a model's compiled loss takes."""

from typing import Any

import keras
import pytest

from tuning.errors import SpaceBug
from tuning.targets.labels import MultiLabel
from tuning.training.architecture import ensure_built
from tuning.training.loss_form import form_of_loss

TARGET = MultiLabel(("a", "b", "c"))
layers = keras.layers


@pytest.mark.parametrize(
    "last",
    [
        [layers.Dense(3, "softmax")],
        [layers.Dense(3), layers.Softmax()],
        [layers.Dense(3), layers.Activation("softmax")],
    ],
)
def test_softmax_of_several_labels_is_refused(last: list[layers.Layer]) -> None:
    start = [keras.Input((4,), dtype="int32"), layers.Embedding(9, 2), layers.Flatten()]
    model = keras.Sequential([*start, *last])
    model.compile("adam", "binary_crossentropy")
    with pytest.raises(SpaceBug, match="End the model with a sigmoid"):
        form_of_loss(model, TARGET, sequence_length=4)


class NeedsTraining(keras.Model):
    """A model of probabilities whose `call` has the argument `training` without a default."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.last = layers.Embedding(9, 2), layers.Dense(3, "sigmoid")

    def call(self, ids: Any, training: bool) -> Any:
        return self.last(keras.ops.mean(self.embed(ids), axis=1))


def test_call_that_must_be_told_whether_it_trains_is_tried() -> None:
    model = NeedsTraining()
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    ensure_built(model, sequence_length=4)
    assert form_of_loss(model, TARGET, sequence_length=4).to_probabilities is None
