"""Labels in the encoding that a compiled loss takes: class numbers, one column, or one column for
each class (one-hot).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.trainers.compile_utils import get_loss

from tuning.data.splits import MIN_TEXTS_PER_CLASS
from tuning.errors import SpaceBug
from tuning.evaluation.metrics import class_probabilities
from tuning.metrics import Array, Labels
from tuning.spaces.files import run_user_code
from tuning.training.architecture import TEXT, input_names, output_of

# Values of the predictions with which a loss is tried. The loss also differs between them if it
# takes them as logits.
HIGH, LOW = 0.9, 0.1
N_NAMED = 10  # maximum number of classes that an error names
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
_REGRESSION_FUNCTIONS = frozenset(loss_class().fn for loss_class in _REGRESSION)

LabelEncoder = Callable[[Labels], Array | Labels]
"""Takes class numbers, int64 array (n,), and returns labels as a loss takes them, with n rows."""


def as_numbers(labels: Labels) -> Labels:
    """Return class numbers as they are, int64 array of shape (n,)."""
    return labels


def as_column(labels: Labels) -> Array:
    """Return the class numbers of two classes as a float32 array of shape (n, 1)."""
    return labels.astype(np.float32)[:, None]


def as_one_hot(n_classes: int) -> LabelEncoder:
    """Return the encoder to one-hot labels, float32 arrays of shape (n, n_classes)."""
    return lambda labels: np.eye(n_classes, dtype=np.float32)[labels]


def label_encoder(
    model: keras.Model, *, n_classes: int, sequence_length: int, class_names: Sequence[str] = ()
) -> LabelEncoder:
    """Return the encoder of the labels for the compiled loss of a built model.

    A model with one output gets one column, the shape of its output, and the user's losses and
    metrics need no reshaping. A model with an output for each class gets class numbers or one-hot
    labels: the encoding with which the loss is lower for right predictions than for wrong
    predictions. A loss for one-hot labels broadcasts class numbers, and has the same value for
    right and wrong predictions. A model that is compiled without a loss gets class numbers.

    Raises:
        SpaceBug: the loss takes neither encoding or is one of Keras' losses for regression, or the
            model's output is not class probabilities.
    """
    loss = model.loss
    if isinstance(loss, dict | list | tuple) and len(loss) == 1:
        (loss,) = loss.values() if isinstance(loss, dict) else loss
    if loss is None:
        return as_numbers
    shape = _output_shape(model, sequence_length)
    if isinstance(loss, dict | list | tuple):
        return as_numbers
    encoders: list[LabelEncoder] = (
        [as_column] if math.prod(shape) == 1 else [as_numbers, as_one_hot(n_classes)]
    )
    return run_user_code(
        lambda: _first_that_fits(
            loss, encoders, shape, n_classes=n_classes, class_names=class_names
        ),
        doing="trying its loss",
    )


def _output_shape(model: keras.Model, sequence_length: int) -> tuple[int, ...]:
    """Return the shape of the output for one text.

    Raises:
        SpaceBug: the model has several outputs, or an output without a fixed shape.
    """
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
    is_doubled = len(sizes) == 2 and sizes[0] == 1 and input_names(model) == (TEXT,)
    return sizes[1:] if is_doubled else sizes


def _first_that_fits(
    loss: Any,
    encoders: list[LabelEncoder],
    shape: tuple[int, ...],
    *,
    n_classes: int,
    class_names: Sequence[str],
) -> LabelEncoder:
    """Return the first encoder with which the loss is lower for right than for wrong predictions.

    Raises:
        SpaceBug: no encoder fits.
        Exception: the error of the loss with the last encoder, if the loss refuses every encoder.
    """
    width = math.prod(shape)
    try:
        class_probabilities(np.full((1, width), 1 / width), n_classes=n_classes)
    except ValueError as error:  # The output has another number of columns.
        raise ValueError(f"{error}{_classes_of_data(class_names)}") from error
    # Labels that a loss broadcasts must be as near to the right as to the wrong predictions. Two
    # texts of every class fulfil this condition.
    numbers = np.arange(2 * n_classes, dtype=np.int64) % n_classes
    right, wrong = (
        _predictions(classes, shape, n_classes=n_classes)
        for classes in (numbers, (numbers + 1) % n_classes)
    )
    problems = []
    for encoder in encoders:
        try:
            labels = encoder(numbers)
            right_value, wrong_value = (
                _value(loss, labels, predictions) for predictions in (right, wrong)
            )
        # A loss may refuse an encoding and take the other.
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            problems.append(error)
            continue
        if right_value < wrong_value:
            return encoder
    if len(problems) == len(encoders):
        raise problems[-1]
    tried = "class numbers nor with one-hot labels" if len(encoders) > 1 else "one column of labels"
    raise SpaceBug(
        f"A loss must be lower for right predictions than for wrong predictions; {_name(loss)} is"
        f" not{', neither' if len(encoders) > 1 else ''} with {tried}. Use binary_crossentropy for"
        " one output, and categorical_crossentropy or sparse_categorical_crossentropy for one"
        " output for each class.",
        traceback="",
    )


def _classes_of_data(class_names: Sequence[str]) -> str:
    """Return a sentence about the classes of the data; "" if their names are not known."""
    if not class_names:
        return ""
    n_left = len(class_names) - N_NAMED
    named = ", ".join(map(repr, class_names[:N_NAMED])) + (f" and {n_left} more" * (n_left > 0))
    return (
        f" The classes of the data are {named}. Another class needs {MIN_TEXTS_PER_CLASS} different"
        " texts with its label."
    )


def _value(loss: Any, labels: Array | Labels, predictions: Array) -> float:
    """Return the value of a compiled loss, computed as Keras does. The value of a loss that is not
    reduced is its mean.

    Raises:
        SpaceBug: the loss is one of Keras' losses for regression.
    """
    function = get_loss(loss, labels, predictions)
    if isinstance(function, _REGRESSION) or getattr(function, "fn", None) in _REGRESSION_FUNCTIONS:
        raise SpaceBug(
            f"A model must be compiled with a loss for classes; received {_name(loss)}, a loss for"
            " numbers. Use binary_crossentropy, categorical_crossentropy or"
            " sparse_categorical_crossentropy.",
            traceback="",
        )
    return float(np.mean(function(labels, predictions)))


def _name(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", None) or type(loss).__name__


def _predictions(classes: Labels, shape: tuple[int, ...], *, n_classes: int) -> Array:
    """Return an output of the model that predicts these classes, of shape (n_texts, *shape)."""
    columns = as_one_hot(n_classes)(classes)
    if math.prod(shape) == 1:  # The only output is the probability of class 1.
        columns = columns[:, 1:]
    return np.where(columns > 0, HIGH, LOW).astype(np.float32).reshape(-1, *shape)
