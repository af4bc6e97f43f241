"""Labels in the form that a compiled loss takes: class numbers, or a column for each class (one-hot)."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.losses.losses import LossFunctionWrapper

from tuning.errors import SpaceBug
from tuning.metrics import Array, Labels, class_probabilities
from tuning.spaces import run_user_code

RIGHT, WRONG = 0.9, 0.1  # probabilities of class 1 that a loss is tried on; as logits they still differ
# Keras' losses for regression. They would train on class numbers, or on one-hot labels, without an error.
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


def one_hot(labels: Labels, *, n_classes: int) -> Array:
    """One-hot labels, float32 array (n, n_classes)."""
    return np.eye(n_classes, dtype=np.float32)[labels]


def takes_one_hot(model: keras.Model, *, n_classes: int, sequence_length: int) -> bool:
    """Whether the compiled loss of a built model takes one-hot labels, float32 (n, n_classes), and not class numbers, int64 (n,).

    A loss takes a form of labels if it is lower for right predictions than for wrong ones. This holds for losses of the user's own as
    well: a loss for one-hot labels that gets class numbers broadcasts them, and is the same for right and wrong predictions. A model that
    is compiled without a loss gets class numbers.

    Raises:
        SpaceBug: the loss takes neither form, is one of Keras' for regression, or the model's output is not one of classes.
    """
    loss = model.loss[0] if isinstance(model.loss, list | tuple) and len(model.loss) == 1 else model.loss
    shape = _output_shape(model, sequence_length)
    if loss is None or isinstance(loss, dict | list | tuple) or shape is None:
        return False
    return run_user_code(lambda: _takes_one_hot(_as_loss(loss), shape, n_classes=n_classes), doing="trying its loss")


def _output_shape(model: keras.Model, sequence_length: int) -> tuple[int, ...] | None:
    """Shape of the output for one text; None of several outputs, or where Keras does not know it."""
    if getattr(model, "outputs", None):
        shape = model.output_shape
    else:
        ids = np.zeros((2, sequence_length), np.int32) if model.run_eagerly else keras.KerasTensor((2, sequence_length), dtype="int32")
        shape = getattr(model(ids), "shape", None)
    sizes = tuple(shape[1:]) if shape is not None and not isinstance(shape, list | dict) else ()
    return sizes if sizes and all(isinstance(size, int) for size in sizes) else None


def _as_loss(loss: Any) -> keras.losses.Loss:
    """A compiled loss as Keras calls it."""
    found = keras.losses.get(loss)
    if isinstance(found, _REGRESSION) or found in _REGRESSION_FUNCTIONS:
        name = getattr(found, "__name__", type(found).__name__)
        raise SpaceBug(
            f"A model must be compiled with a loss for classes; received {name}, a loss for numbers. Use binary_crossentropy, "
            "categorical_crossentropy or sparse_categorical_crossentropy.",
            traceback="",
        )
    return found if isinstance(found, keras.losses.Loss) else LossFunctionWrapper(found)


def _takes_one_hot(loss: keras.losses.Loss, shape: tuple[int, ...], *, n_classes: int) -> bool:
    width = math.prod(shape)
    class_probabilities(np.full((1, width), 1 / width), n_classes=n_classes)  # refuses another number of columns
    numbers = np.arange(2 * max(n_classes, 2) - 1) % n_classes  # as many rows as there are classes would hide a wrong shape
    columns, others = one_hot(numbers, n_classes=n_classes), one_hot((numbers + 1) % n_classes, n_classes=n_classes)
    right, wrong = (_predictions(one if width > 1 else one[:, 1:]).reshape(-1, *shape) for one in (columns, others))
    problems = []
    for is_one_hot, labels in ((False, numbers), (True, columns))[: 1 if width == 1 else 2]:
        try:
            if float(loss(labels, right)) < float(loss(labels, wrong)):
                return is_one_hot
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:  # the loss takes the other form, or neither
            problems.append(error)
    if len(problems) == (1 if width == 1 else 2):
        raise problems[-1]
    raise SpaceBug(
        f"A loss must be lower for right predictions than for wrong ones; {loss.name!r} is not, neither with class numbers nor with "
        "one-hot labels. Use binary_crossentropy, categorical_crossentropy or sparse_categorical_crossentropy.",
        traceback="",
    )


def _predictions(columns: Array) -> Array:
    return np.where(columns > 0, RIGHT, WRONG).astype(np.float32)
