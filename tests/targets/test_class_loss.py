"""What a compiled loss takes: class numbers or one-hot labels, and probabilities or logits."""

import functools
import itertools
import re
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


class Pairs(losses.Loss):
    """A binary crossentropy without a reshape. Labels of shape (n,) would be broadcast against
    predictions of shape (n, 1).
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = ops.clip(y_pred, 1e-7, 1 - 1e-7)
        return -ops.mean(y_true * ops.log(y_pred) + (1 - y_true) * ops.log(1 - y_pred), axis=-1)


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


def form_of(model: keras.Model, n_classes: int) -> tuple[str, str | None]:
    """Return a description of the labels that a model is trained with, and the name of the
    activation that makes probabilities of its output.
    """
    form = form_of_loss(model, numbered(n_classes), sequence_length=LENGTH)
    shapes = {(n_classes,): "numbers", (n_classes, 1): "column", (n_classes,) * 2: "one-hot"}
    labels, layer = form.encode_labels(np.arange(n_classes)), form.to_probabilities
    return shapes[labels.shape], layer and layer.activation.__name__


# Losses for one column, or one-hot labels. A linear output under a loss for probabilities stays,
# and its numbers are refused.
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
# Losses for one-hot labels
SOFTMAXES = [
    losses.CategoricalCrossentropy(from_logits=True),
    losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
    losses.CategoricalFocalCrossentropy(from_logits=True),
    functools.partial(losses.categorical_crossentropy, from_logits=True),
]
FOR_CLASS_PROBABILITIES = [
    "categorical_crossentropy",
    ["categorical_crossentropy"],
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "kl_divergence",
    losses.CategoricalCrossentropy(label_smoothing=0.2),
    losses.CategoricalCrossentropy(reduction="none"),
]
# Losses for class numbers
SPARSE_SOFTMAXES = [losses.SparseCategoricalCrossentropy(from_logits=True), softmax_loss]
SPARSE = [
    "sparse_categorical_crossentropy",
    "crossentropy",
    losses.SparseCategoricalCrossentropy(reduction=None),
    weighted_sparse,
    None,
]


@pytest.mark.parametrize(
    ("n_outputs", "loss", "labels", "activation"),
    [
        *itertools.product([1], SIGMOIDS, ["column"], ["sigmoid"]),
        *itertools.product([2, 5], SIGMOIDS, ["one-hot"], ["sigmoid"]),
        *itertools.product([1], ["crossentropy", *FOR_PROBABILITIES], ["column"], [None]),
        *itertools.product([2, 5], FOR_PROBABILITIES, ["one-hot"], [None]),
        *itertools.product([2, 5, 100], SOFTMAXES, ["one-hot"], ["softmax"]),
        *itertools.product([2, 3, 100], FOR_CLASS_PROBABILITIES, ["one-hot"], [None]),
        *itertools.product([2, 5, 100], SPARSE_SOFTMAXES, ["numbers"], ["softmax"]),
        *itertools.product([2, 3, 100], SPARSE, ["numbers"], [None]),
    ],
)
def test_linear_output_gets_the_labels_and_the_activation_of_its_loss(
    n_outputs: int, loss: Any, labels: str, activation: str | None
) -> None:
    model = model_of(n_outputs, loss, activation="linear")
    assert form_of(model, max(n_outputs, 2)) == (labels, activation)


def test_loss_by_the_name_of_its_output_counts() -> None:
    model = model_of(3, None)
    model.compile("sgd", {model.output_names[0]: "categorical_crossentropy"})
    assert form_of(model, 3) == ("one-hot", None)
    model.compile("sgd", {model.output_names[0]: "mse"})
    with pytest.raises(SpaceBug, match="must be compiled with a loss for classes; received mse"):
        form_of(model, 3)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", ["categorical_crossentropy"] * 2])
def test_several_outputs_are_refused_before_they_are_trained(loss: Any) -> None:
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 2)(ids))
    model = keras.Model(ids, [layers.Dense(2, "softmax")(x), layers.Dense(2, "softmax")(x)])
    model.compile("sgd", loss)
    gives = re.escape("shape (batch, n); this model gives [(None, 2), (None, 2)]. End the model")
    with pytest.raises(SpaceBug, match=gives):
        form_of(model, 2)


def raising(error: Exception) -> Callable[[Any, Any], Any]:
    def loss(y_true: Any, y_pred: Any) -> Any:
        raise error

    return loss


REGRESSIONS = [
    *("mse", "mae", "huber", "poisson"),
    *(losses.MeanSquaredError(), losses.mean_squared_error),
]
OF_KERAS = [
    "sparse_categorical_crossentropy",
    functools.partial(losses.sparse_categorical_crossentropy, from_logits=True),
]
ERRORS = [ValueError("no such thing"), tf.errors.InvalidArgumentError(None, None, "no such thing")]


@pytest.mark.parametrize(
    ("n_outputs", "n_classes", "loss", "message"),
    [
        *itertools.product([1, 2], [2], REGRESSIONS, ["received .* Use binary_crossentropy"]),
        (3, 3, lambda y_true, y_pred: ops.mean(y_pred, axis=-1), "lower for right predictions"),
        # TensorFlow's errors of Keras' own losses are said in a sentence.
        *itertools.product([1], [2], OF_KERAS, ["^A loss must be lower .* for one output"]),
        *itertools.product([3], [3], map(raising, ERRORS), ["trying its loss: .*no such thing"]),
        (3, 2, "categorical_crossentropy", r"^The model .* gives 3 numbers a text\. End it"),
    ],
)
def test_loss_or_output_that_is_not_for_the_classes_is_refused(
    n_outputs: int, n_classes: int, loss: Any, message: str
) -> None:
    activation = "sigmoid" if n_outputs == 1 else "softmax"
    with pytest.raises(SpaceBug, match=message):
        form_of(model_of(n_outputs, loss, activation=activation), n_classes)


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
    assert form_of(model, 2)[1] == expected


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
    assert form_of(model, 2)[1] is None
