"""The form of numbers that a compiled loss takes."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

# Private, because `keras.losses.get` refuses "crossentropy", which `compile` takes.
from keras.src.trainers.compile_utils import get_loss

from tuning.errors import SpaceBug
from tuning.targets.class_loss import as_column, is_one_of, name_of
from tuning.targets.target import LabelEncoder

# Losses for classes: they raise no error for numbers.
CLASS_LOSSES = (
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.Hinge,
    keras.losses.SquaredHinge,
    keras.losses.CategoricalHinge,
    keras.losses.KLDivergence,
    keras.losses.Dice,
    keras.losses.Tversky,
)


def form_of(loss: Any, shape: tuple[int, ...]) -> tuple[LabelEncoder, str | None]:
    if loss is None or isinstance(loss, dict | list | tuple):
        return as_column, None
    if math.prod(shape) != 1:
        raise SpaceBug(
            f"The model must give one number a text; it gives {math.prod(shape)}. End it with"
            " Dense(1), or leave kind out if the labels are classes.",
        )
    example = np.zeros((2, *shape), np.float32)
    if is_one_of(get_loss(loss, example, example), CLASS_LOSSES):
        raise SpaceBug(
            "A model of numbers must be compiled with a loss for numbers; received"
            f" {name_of(loss)}, a loss for classes. Use mse, mae or huber, or leave kind out if the"
            " labels are classes.",
        )
    return as_column, None
