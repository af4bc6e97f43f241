"""Labels in the form that a compiled loss takes: class numbers, one column, or a column for each
class (one-hot).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.compile_utils import get_loss

from tuning.errors import SpaceBug
from tuning.evaluation.metrics import Array, Labels, class_probabilities
from tuning.spaces.loading import run_user_code
from tuning.training.architecture import output_of

RIGHT, WRONG = (
    0.9,
    0.1,
)  # probabilities of class 1 that a loss is tried on; as logits they still differ
# Keras' losses for regression. They would train on class numbers, or on one-hot labels, without an
# error.
_REGRESSION = (
    keras.losses.MeanSquaredError,
    keras.losses.MeanAbsoluteError,
    keras.losses.MeanAbsolutePercentageError,
    keras.losses.MeanSquaredLogarithmicError,
    keras.losses.Huber,
    keras.losses.LogCosh,
    keras.losses.Poisson,
)
_REGRESSION_FUNCTIONS = frozenset(one().fn for one in _REGRESSION)

Form = Callable[[Labels], Array | Labels]
"""Class numbers, int64 (n,), in the form that a loss takes."""


def as_numbers(labels: Labels) -> Labels:
    """Class numbers, int64 array (n,)."""
    return labels


def as_column(labels: Labels) -> Array:
    """Class numbers of two classes, float32 array (n, 1)."""
    return labels.astype(np.float32)[:, None]


def as_one_hot(n_classes: int) -> Form:
    """One-hot labels, float32 array (n, n_classes)."""
    return lambda labels: np.eye(n_classes, dtype=np.float32)[labels]


def label_form(model: keras.Model, *, n_classes: int, sequence_length: int) -> Form:
    """The form of labels that the compiled loss of a built model takes.

    A model with one output gets a column of the same shape as its output, so that losses and
    metrics of the user's own need no reshaping. A model with an output for each class gets class
    numbers or one-hot labels: the form with which the loss is lower for right predictions than for
    wrong ones. A loss for one-hot labels that gets class numbers broadcasts them, and is the same
    for right and wrong predictions. A model that is compiled without a loss gets class numbers.

    Raises:
        SpaceBug: the loss takes no form, is one of Keras' for regression, or the model's output is
            not one of classes.
    """
    loss = model.loss
    if isinstance(loss, dict | list | tuple) and len(loss) == 1:
        (loss,) = loss.values() if isinstance(loss, dict) else loss
    if loss is None or isinstance(loss, dict | list | tuple):
        return as_numbers
    shape = _output_shape(model, sequence_length)
    forms: list[Form] = (
        [as_column] if math.prod(shape) == 1 else [as_numbers, as_one_hot(n_classes)]
    )
    return run_user_code(
        lambda: _fitting(loss, forms, shape, n_classes=n_classes), doing="trying its loss"
    )


def _output_shape(model: keras.Model, sequence_length: int) -> tuple[int, ...]:
    """Shape of the output for one text.

    Raises:
        SpaceBug: the model has several outputs, or Keras does not know their shape.
    """
    output = (
        model.outputs[0]
        if len(getattr(model, "outputs", None) or ()) == 1
        else output_of(model, sequence_length=sequence_length)
    )
    sizes = tuple(getattr(output, "shape", ())[1:])
    if not sizes or not all(isinstance(size, int) for size in sizes):
        raise SpaceBug(
            f"A model must give one tensor of class probabilities; this one gives {output!r}.",
            traceback="",
        )
    return sizes


def _fitting(loss: Any, forms: list[Form], shape: tuple[int, ...], *, n_classes: int) -> Form:
    width = math.prod(shape)
    class_probabilities(
        np.full((1, width), 1 / width), n_classes=n_classes
    )  # refuses another number of columns
    # Every class twice: labels that a loss broadcasts are then as near to the right predictions as
    # to the wrong ones.
    numbers = np.arange(2 * n_classes, dtype=np.int64) % n_classes
    columns, others = (
        as_one_hot(n_classes)(numbers),
        as_one_hot(n_classes)((numbers + 1) % n_classes),
    )
    right, wrong = (
        _predictions(one if width > 1 else one[:, 1:]).reshape(-1, *shape)
        for one in (columns, others)
    )
    problems = []
    for form in forms:
        try:
            labels = form(numbers)
            values = [_value(loss, labels, predictions) for predictions in (right, wrong)]
        except (
            ValueError,
            TypeError,
            tf.errors.InvalidArgumentError,
        ) as error:  # the loss takes the other form, or neither
            problems.append(error)
            continue
        if values[0] < values[1]:
            return form
    if len(problems) == len(forms):
        raise problems[-1]
    raise SpaceBug(
        f"A loss must be lower for right predictions than for wrong ones; {_name(loss)} is not,"
        " neither with class numbers nor with one-hot labels. Use binary_crossentropy,"
        " categorical_crossentropy or sparse_categorical_crossentropy.",
        traceback="",
    )


def _value(loss: Any, labels: Array | Labels, predictions: Array) -> float:
    """A compiled loss as Keras calls it, the mean of a loss that is not reduced."""
    found = get_loss(loss, labels, predictions)
    function = getattr(found, "fn", None)
    if isinstance(found, _REGRESSION) or function in _REGRESSION_FUNCTIONS:
        raise SpaceBug(
            f"A model must be compiled with a loss for classes; received {_name(loss)}, a loss for"
            " numbers. Use binary_crossentropy, categorical_crossentropy or"
            " sparse_categorical_crossentropy.",
            traceback="",
        )
    return float(np.mean(found(labels, predictions)))


def _name(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", None) or type(loss).__name__


def _predictions(columns: Array | Labels) -> Array:
    return np.where(columns > 0, RIGHT, WRONG).astype(np.float32)
