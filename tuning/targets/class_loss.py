"""The forms of class labels that a compiled loss takes: class numbers, one column, or one column
for each class (one-hot); and whether its outputs are probabilities or logits.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

# Private, because `keras.losses.get` refuses "crossentropy", which `compile` takes.
from keras.src.trainers.compile_utils import get_loss

from tuning.errors import SpaceBug
from tuning.targets.classes import MIN_TEXTS_PER_CLASS
from tuning.targets.target import Array, LabelEncoder, Labels

if TYPE_CHECKING:
    from tuning.targets.classes import Classes

# Values of the predictions with which a loss is tried. The loss also differs between them if it
# takes them as logits.
HIGH, LOW = 0.9, 0.1
N_NAMED = 10  # maximum number of classes that an error names
# Outputs with which a loss for logits is found: the highest probability, and a number above it.
# With a label smoothing of 0.36 and more, the loss of logits is not lower for the second.
NEAR, FAR = 1.0, 1.5
# Keras' losses for regression. They raise no error for class numbers or one-hot labels.
_REGRESSION = (
    keras.losses.MeanSquaredError,
    keras.losses.MeanAbsoluteError,
    keras.losses.MeanAbsolutePercentageError,
    keras.losses.MeanSquaredLogarithmicError,
    keras.losses.Huber,
    keras.losses.LogCosh,
    keras.losses.Poisson,
)


def as_numbers(labels: Labels) -> Labels:
    return labels


def as_column(labels: Labels) -> Array:
    return labels.astype(np.float32)[:, None]


def as_one_hot(n_classes: int) -> LabelEncoder:
    return lambda labels: np.eye(n_classes, dtype=np.float32)[labels]


def form_of(target: Classes, loss: Any, shape: tuple[int, ...]) -> tuple[LabelEncoder, str | None]:
    """Return the encoding of the labels and the activation of the outputs for a compiled loss.

    | model | labels |
    |---|---|
    | one output | one column, the shape of its output |
    | an output for each class | class numbers, or one-hot labels where the loss takes them |
    | without a loss | one column for one output, else class numbers |
    | a loss for each of several outputs | class numbers |
    """
    if loss is None:
        return as_column if shape and math.prod(shape) == 1 else as_numbers, None
    if isinstance(loss, dict | list | tuple):
        return as_numbers, None
    encoders: list[LabelEncoder] = (
        [as_column] if math.prod(shape) == 1 else [as_numbers, as_one_hot(target.width)]
    )
    encoder = _first_that_fits(target, loss, encoders, shape)
    return encoder, _activation_of_logits(loss, encoder, shape, n_classes=target.width)


def _first_that_fits(
    target: Classes, loss: Any, encoders: list[LabelEncoder], shape: tuple[int, ...]
) -> LabelEncoder:
    width, n_classes = math.prod(shape), target.width
    try:
        target.predictions(np.full((1, width), 1 / width))
    except ValueError as error:  # The output has another number of columns.
        raise SpaceBug(f"{error}{_classes_of_data(target)}") from error
    numbers = _tried_classes(n_classes)
    right, wrong = (
        _predictions(classes, shape, n_classes=n_classes, high=HIGH, low=LOW)
        for classes in (numbers, (numbers + 1) % n_classes)
    )
    problems = []
    for encoder in encoders:
        try:
            labels = encoder(numbers)
            right_value, wrong_value = (
                value_of(loss, labels, predictions) for predictions in (right, wrong)
            )
        # A loss may refuse an encoding and take the other.
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            problems.append(error)
            continue
        # A loss for one-hot labels broadcasts class numbers, and raises no error for them. Its
        # values for right and wrong predictions are then equal.
        if right_value < wrong_value:
            return encoder
    # TensorFlow's errors name operations: what Keras' own losses cause is said in a sentence.
    written = getattr(loss, "func", loss)  # functools.partial has its function as `func`.
    is_of_keras = isinstance(loss, str) or written.__module__.startswith("keras.")
    known = tf.errors.InvalidArgumentError if is_of_keras else ()
    unknown = [problem for problem in problems if not isinstance(problem, known)]
    if unknown and len(problems) == len(encoders):
        raise unknown[-1]
    tried = "class numbers nor with one-hot labels" if len(encoders) > 1 else "one column of labels"
    raise SpaceBug(
        f"A loss must be lower for right predictions than for wrong predictions; {name_of(loss)} is"
        f" not{', neither' if len(encoders) > 1 else ''} with {tried}. Use binary_crossentropy for"
        " one output, and categorical_crossentropy or sparse_categorical_crossentropy for one"
        " output for each class.",
    )


def _classes_of_data(target: Classes) -> str:
    if target.width <= 2:  # Further classes of stars need positive_from=0.
        return ""
    n_left = target.width - N_NAMED
    named = ", ".join(map(repr, target.names[:N_NAMED])) + (f" and {n_left} more" * (n_left > 0))
    return (
        f" The classes of the data are {named}. Another class needs {MIN_TEXTS_PER_CLASS} different"
        " texts with its label."
    )


def _tried_classes(n_classes: int) -> Labels:
    # Two texts of every class: labels that a loss broadcasts are then as near to the right as to
    # the wrong predictions.
    return np.arange(2 * n_classes, dtype=np.int64) % n_classes


def _activation_of_logits(
    loss: Any, encoder: LabelEncoder, shape: tuple[int, ...], *, n_classes: int
) -> str | None:
    """Return the activation that makes probabilities of the outputs that a loss takes: "sigmoid" or
    "softmax"; None for a loss for probabilities.
    """
    classes, is_column = _tried_classes(n_classes), math.prod(shape) == 1

    def value_for(output: float, *, shift: float = 0.0) -> float:
        low = -output if is_column else 0.0
        outputs = _predictions(classes, shape, n_classes=n_classes, high=output, low=low)
        return value_of(loss, encoder(classes), outputs + np.float32(shift))

    try:
        near, far, shifted = value_for(NEAR), value_for(FAR), value_for(FAR, shift=1.0)
    # A loss may refuse outputs that are no probabilities.
    except (ValueError, TypeError, tf.errors.InvalidArgumentError):
        return None
    # Where the right output rises above 1, a loss for logits falls. A loss for probabilities cuts
    # or normalizes the outputs and keeps its value, or it rises, or its value is negative or NaN.
    if not 0 <= far < near:
        return None
    # The loss of a softmax keeps its value if all logits rise by the same number.
    return "softmax" if not is_column and math.isclose(far, shifted, rel_tol=1e-3) else "sigmoid"


def value_of(loss: Any, labels: Array | Labels, predictions: Array) -> float:
    """Return the value of a compiled loss; its mean, if it is not reduced."""
    function = get_loss(loss, labels, predictions)
    if is_one_of(function, _REGRESSION):
        raise SpaceBug(
            "A model must be compiled with a loss for classes; received"
            f" {name_of(loss)}, a loss for numbers. Use binary_crossentropy,"
            " categorical_crossentropy or sparse_categorical_crossentropy, or give kind 'number'.",
        )
    return float(np.mean(function(labels, predictions)))


def is_one_of(loss: Any, classes: tuple[type[keras.Loss], ...]) -> bool:
    # A loss that is named by a string has the function of a class, such as `mean_squared_error`.
    return isinstance(loss, classes) or getattr(loss, "fn", None) in _functions(classes)


@cache
def _functions(classes: tuple[type[keras.Loss], ...]) -> frozenset[Any]:
    return frozenset(loss_class().fn for loss_class in classes)


def name_of(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", None) or type(loss).__name__


def _predictions(
    classes: Labels, shape: tuple[int, ...], *, n_classes: int, high: float, low: float
) -> Array:
    """Return an output of the model that predicts these classes, of shape (n_texts, *shape)."""
    columns = as_one_hot(n_classes)(classes)
    if math.prod(shape) == 1:  # The only output is that of class 1.
        columns = columns[:, 1:]
    return np.where(columns > 0, high, low).astype(np.float32).reshape(-1, *shape)
