"""Which labels a compiled loss takes: class numbers or one-hot labels."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from tuning.errors import SpaceBug
from tuning.targets import one_hot, takes_one_hot

layers, ops, losses = keras.layers, keras.ops, keras.losses
LENGTH = 6


def model_of(n_outputs: int, loss: Any, *, activation: str = "softmax") -> keras.Model:
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 2)(ids))
    model = keras.Model(ids, layers.Dense(n_outputs, activation)(x))
    model.compile("sgd", loss)
    return model


def focal(y_true: Any, y_pred: Any) -> Any:
    """A focal loss over one-hot labels, as notebooks have it."""
    y_pred = ops.clip(y_pred, 1e-7, 1 - 1e-7)
    return -ops.sum(y_true * (1 - y_pred) ** 2 * ops.log(y_pred), axis=-1)


def weighted_sparse(y_true: Any, y_pred: Any) -> Any:
    return losses.sparse_categorical_crossentropy(y_true, y_pred) * 2.0


class Dice(losses.Loss):
    """A soft F1 over a batch."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return 1 - 2 * ops.sum(y_true * y_pred) / (ops.sum(y_true) + ops.sum(y_pred))


def brier(y_true: Any, y_pred: Any) -> Any:
    return ops.mean((y_true - y_pred) ** 2, axis=-1)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("categorical_crossentropy", True),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=0.1), True),
        ("categorical_focal_crossentropy", True),
        ("categorical_hinge", True),
        ("kl_divergence", True),
        ("binary_crossentropy", True),
        (lambda: focal, True),
        (lambda: brier, True),
        (Dice, True),
        ("sparse_categorical_crossentropy", False),
        (losses.SparseCategoricalCrossentropy, False),
        (lambda: weighted_sparse, False),
        (lambda: None, False),
    ],
)
def test_one_hot_labels_where_the_loss_takes_them(loss: str | Callable[[], Any], expected: bool, n_classes: int) -> None:
    model = model_of(n_classes, loss if isinstance(loss, str) else loss())
    assert takes_one_hot(model, n_classes=n_classes, sequence_length=LENGTH) is expected


@pytest.mark.parametrize("loss", ["binary_crossentropy", "binary_focal_crossentropy", "hinge", focal, brier])
def test_one_output_takes_class_numbers(loss: Any) -> None:
    assert not takes_one_hot(model_of(1, loss, activation="sigmoid"), n_classes=2, sequence_length=LENGTH)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("loss", ["mse", "mae", "huber", losses.MeanSquaredError(), losses.mean_squared_error, "poisson"])
def test_loss_for_numbers_is_refused(loss: Any, n_outputs: int) -> None:
    with pytest.raises(SpaceBug, match=r"must be compiled with a loss for classes; received .* Use binary_crossentropy"):
        takes_one_hot(model_of(n_outputs, loss), n_classes=2, sequence_length=LENGTH)


def test_loss_that_does_not_tell_right_from_wrong_is_refused() -> None:
    with pytest.raises(SpaceBug, match="must be lower for right predictions than for wrong ones"):
        takes_one_hot(model_of(3, lambda y_true, y_pred: ops.mean(y_pred, axis=-1)), n_classes=3, sequence_length=LENGTH)


def test_loss_that_raises_is_a_bug_of_the_space() -> None:
    def broken(y_true: Any, y_pred: Any) -> Any:
        raise ValueError("no such thing")

    with pytest.raises(SpaceBug, match="trying its loss: ValueError: no such thing"):
        takes_one_hot(model_of(3, broken), n_classes=3, sequence_length=LENGTH)


def test_output_of_another_width_is_refused_before_it_is_trained() -> None:
    with pytest.raises(SpaceBug, match=r"it gives 3 numbers a text\. End it with Dense\(1"):
        takes_one_hot(model_of(3, "categorical_crossentropy"), n_classes=2, sequence_length=LENGTH)


def test_one_hot_is_keras_to_categorical() -> None:
    labels = np.array([2, 0, 1, 2])
    np.testing.assert_array_equal(one_hot(labels, n_classes=4), keras.utils.to_categorical(labels, 4))
