"""What a compiled loss takes: class numbers or one-hot labels, and probabilities or logits."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.numbered import numbered
from tuning.errors import SpaceBug
from tuning.targets.class_loss import as_one_hot
from tuning.targets.classes import Classes
from tuning.training.loss_form import form_of_loss

layers, ops, losses = keras.layers, keras.ops, keras.losses
LENGTH = 6


def model_of(n_outputs: int, loss: Any, *, activation: str = "softmax") -> keras.Model:
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 2)(ids))
    model = keras.Model(ids, layers.Dense(n_outputs, activation)(x))
    model.compile("sgd", loss)
    return model


def focal(y_true: Any, y_pred: Any) -> Any:
    """Return a focal loss over one-hot labels, as public notebooks compute it."""
    y_pred = ops.clip(y_pred, 1e-7, 1 - 1e-7)
    return -ops.sum(y_true * (1 - y_pred) ** 2 * ops.log(y_pred), axis=-1)


def weighted_sparse(y_true: Any, y_pred: Any) -> Any:
    return losses.sparse_categorical_crossentropy(y_true, y_pred) * 2.0


class Dice(losses.Loss):
    """A loss that computes a soft F1 over a batch."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return 1 - 2 * ops.sum(y_true * y_pred) / (ops.sum(y_true) + ops.sum(y_pred))


def brier(y_true: Any, y_pred: Any) -> Any:
    return ops.mean((y_true - y_pred) ** 2, axis=-1)


def form_of(model: keras.Model, n_classes: int) -> str:
    """Return a description of the labels that a model is trained with."""
    form = form_of_loss(model, numbered(n_classes), sequence_length=LENGTH)
    labels = form.encode_labels(np.arange(n_classes))
    return {(n_classes,): "numbers", (n_classes, 1): "column", (n_classes, n_classes): "one-hot"}[
        labels.shape
    ]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("categorical_crossentropy", "one-hot"),
        (losses.CategoricalCrossentropy(label_smoothing=0.1), "one-hot"),
        (losses.CategoricalCrossentropy(reduction="none"), "one-hot"),
        (["categorical_crossentropy"], "one-hot"),
        ("categorical_hinge", "one-hot"),
        ("kl_divergence", "one-hot"),
        ("binary_crossentropy", "one-hot"),
        (focal, "one-hot"),
        (brier, "one-hot"),
        (Dice(), "one-hot"),
        ("sparse_categorical_crossentropy", "numbers"),
        ("crossentropy", "numbers"),
        (losses.SparseCategoricalCrossentropy(reduction=None), "numbers"),
        (weighted_sparse, "numbers"),
        (None, "numbers"),
    ],
)
def test_output_for_each_class_gets_the_labels_that_its_loss_takes(
    loss: Any, expected: str, n_classes: int
) -> None:
    assert form_of(model_of(n_classes, loss), n_classes) == expected


def test_loss_by_the_name_of_its_output_counts() -> None:
    model = model_of(3, None)
    model.compile("sgd", {model.output_names[0]: "categorical_crossentropy"})
    assert form_of(model, 3) == "one-hot"
    model.compile("sgd", {model.output_names[0]: "mse"})
    with pytest.raises(SpaceBug, match="must be compiled with a loss for classes; received mse"):
        form_of(model, 3)


class Pairs(losses.Loss):
    """A binary crossentropy without a reshape. Labels of shape (n,) would be broadcast against
    predictions of shape (n, 1).
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = ops.clip(y_pred, 1e-7, 1 - 1e-7)
        return -ops.mean(y_true * ops.log(y_pred) + (1 - y_true) * ops.log(1 - y_pred), axis=-1)


@pytest.mark.parametrize(
    "loss",
    [
        "binary_crossentropy",
        "crossentropy",
        "binary_focal_crossentropy",
        "hinge",
        focal,
        brier,
        Pairs(),
    ],
)
def test_one_output_gets_a_column(loss: Any) -> None:
    assert form_of(model_of(1, loss, activation="sigmoid"), 2) == "column"


@pytest.mark.parametrize("loss", ["categorical_crossentropy", ["categorical_crossentropy"] * 2])
def test_several_outputs_are_refused_before_they_are_trained(loss: Any) -> None:
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 2)(ids))
    model = keras.Model(ids, [layers.Dense(2, "softmax")(x), layers.Dense(2, "softmax")(x)])
    model.compile("sgd", loss)
    with pytest.raises(SpaceBug, match="must give one tensor of class probabilities"):
        form_of(model, 2)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize(
    "loss", ["mse", "mae", "huber", losses.MeanSquaredError(), losses.mean_squared_error, "poisson"]
)
def test_loss_for_numbers_is_refused(loss: Any, n_outputs: int) -> None:
    with pytest.raises(
        SpaceBug,
        match=r"must be compiled with a loss for classes; received .* Use binary_crossentropy",
    ):
        form_of(model_of(n_outputs, loss), 2)


def test_loss_that_does_not_tell_right_from_wrong_is_refused() -> None:
    with pytest.raises(SpaceBug, match="must be lower for right predictions than for wrong pred"):
        form_of(model_of(3, lambda y_true, y_pred: ops.mean(y_pred, axis=-1)), 3)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        functools.partial(losses.sparse_categorical_crossentropy, from_logits=True),
    ],
)
def test_loss_for_class_numbers_is_refused_for_one_output(loss: Any) -> None:
    with pytest.raises(SpaceBug, match=r"^A loss must be lower .* Use binary_crossentropy for one"):
        form_of(model_of(1, loss, activation="sigmoid"), 2)


@pytest.mark.parametrize(
    "error",
    [ValueError("no such thing"), tf.errors.InvalidArgumentError(None, None, "no such thing")],
)
def test_loss_that_raises_is_a_bug_of_the_space(error: Exception) -> None:
    def broken(y_true: Any, y_pred: Any) -> Any:
        raise error

    with pytest.raises(SpaceBug, match=r"trying its loss: .*Error: .*no such thing"):
        form_of(model_of(3, broken), 3)


def test_output_of_another_width_is_refused_before_it_is_trained() -> None:
    with pytest.raises(SpaceBug, match=r"^The model .* gives 3 numbers a text\. End it with Dense"):
        form_of(model_of(3, "categorical_crossentropy"), 2)


def test_class_that_the_data_lack_is_explained() -> None:
    names = ("1", "2", "4", "5")
    model = model_of(5, "categorical_crossentropy")
    with pytest.raises(SpaceBug, match=r"gives 5 numbers .* '1', '2', '4', '5'\. .*needs 10 d"):
        form_of_loss(model, Classes(tuple(names)), sequence_length=LENGTH)
    with pytest.raises(SpaceBug, match="'9' and 90 more"):
        form_of_loss(model, numbered(100), sequence_length=LENGTH)


def test_one_hot_is_keras_to_categorical() -> None:
    labels = np.array([2, 0, 1, 2])
    np.testing.assert_array_equal(as_one_hot(4)(labels), keras.utils.to_categorical(labels, 4))


# Logits


def activation_of(model: keras.Model, n_classes: int) -> str | None:
    """Return the name of the activation that makes probabilities of a model's output."""
    layer = form_of_loss(model, numbered(n_classes), sequence_length=LENGTH).to_probabilities
    return layer and layer.activation.__name__


def sigmoid_loss(labels: Any, logits: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)


def softmax_loss(labels: Any, logits: Any) -> Any:
    return losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def heavy_positives(labels: Any, logits: Any) -> Any:
    return tf.nn.weighted_cross_entropy_with_logits(labels, logits, pos_weight=8.0)


def refusing(y_true: Any, y_pred: Any) -> Any:
    """Return a loss for one-hot labels that refuses numbers that are no probabilities."""
    tf.debugging.assert_less_equal(y_pred, 1.0)
    return -ops.mean(y_true * ops.log(y_pred), axis=-1)


SIGMOIDS = [
    losses.BinaryCrossentropy(from_logits=True),
    losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2),
    losses.BinaryCrossentropy(from_logits=True, reduction="none"),
    losses.BinaryFocalCrossentropy(from_logits=True, apply_class_balancing=True),
    functools.partial(losses.binary_crossentropy, from_logits=True),
    [losses.BinaryCrossentropy(from_logits=True)],
    sigmoid_loss,
    heavy_positives,
]
SOFTMAXES = [
    losses.CategoricalCrossentropy(from_logits=True),
    losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
    losses.SparseCategoricalCrossentropy(from_logits=True),
    losses.CategoricalFocalCrossentropy(from_logits=True),
    functools.partial(losses.categorical_crossentropy, from_logits=True),
    softmax_loss,
]
# A linear output under a loss for probabilities stays, and its numbers are refused.
FOR_PROBABILITIES = [
    "binary_crossentropy",
    losses.BinaryCrossentropy(label_smoothing=0.2),
    "binary_focal_crossentropy",
    "hinge",
    "squared_hinge",
    Pairs(),
    Dice(),
    brier,
    focal,
    refusing,
]
FOR_CLASS_PROBABILITIES = [
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "kl_divergence",
    losses.CategoricalCrossentropy(label_smoothing=0.2),
    weighted_sparse,
]


@pytest.mark.parametrize(
    ("n_outputs", "loss", "activation"),
    [
        *itertools.product([1, 2, 5], SIGMOIDS, ["sigmoid"]),
        *itertools.product([2, 5, 100], SOFTMAXES, ["softmax"]),
        *itertools.product([1, 2, 5], FOR_PROBABILITIES, [None]),
        *itertools.product([2, 3, 100], FOR_CLASS_PROBABILITIES, [None]),
    ],
)
def test_linear_output_gets_the_activation_of_its_loss(
    n_outputs: int, loss: Any, activation: str | None
) -> None:
    model = model_of(n_outputs, loss, activation="linear")
    assert activation_of(model, max(n_outputs, 2)) == activation


class Head(keras.Model):
    """A subclassed model, the last of whose layers is not its output."""

    def __init__(self, activation: str | None) -> None:
        super().__init__()
        self.head = layers.Dense(1, activation)
        self.embed = layers.Embedding(9, 2)
        self.pool = layers.GlobalAveragePooling1D()
        self.gate = layers.Dense(1, "sigmoid")

    def call(self, ids: Any) -> Any:
        x = self.embed(ids)
        return self.head(self.pool(x * self.gate(x)))


@pytest.mark.parametrize(("activation", "expected"), [(None, "sigmoid"), ("sigmoid", None)])
def test_output_of_a_subclassed_model_decides(activation: str | None, expected: str | None) -> None:
    model = Head(activation)
    model.compile("sgd", losses.BinaryCrossentropy(from_logits=True))
    model(np.zeros((1, LENGTH), np.int32))
    assert activation_of(model, 2) == expected


@pytest.mark.parametrize(
    "last",
    [
        lambda: [layers.Dense(2, "softmax")],
        lambda: [layers.Dense(2), layers.Activation("sigmoid")],
        lambda: [layers.Dense(2), layers.Lambda(ops.softmax)],
        lambda: [keras.Sequential([layers.Dense(3, "relu"), layers.Dense(2, "softmax")])],
        lambda: [layers.Dense(2, "softmax"), layers.Flatten()],
    ],
)
def test_probabilities_under_a_loss_for_logits_get_no_second_activation(
    last: Callable[[], list[Any]],
) -> None:
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(9, 2),
            layers.GlobalAveragePooling1D(),
            *last(),
        ]
    )
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
    assert activation_of(model, 2) is None
