"""The form of several labels that a compiled loss takes: a column of 0 and 1 for each label; and
whether its outputs are probabilities or logits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tuning.errors import SpaceBug
from tuning.targets.class_loss import FAR, HIGH, LOW, NEAR, name_of, value_of
from tuning.targets.target import Array, LabelEncoder, Labels

if TYPE_CHECKING:
    from tuning.targets.labels import MultiLabel


def as_columns(labels: Labels) -> Array:
    return labels.astype(np.float32)


def form_of(
    target: MultiLabel, loss: Any, shape: tuple[int, ...]
) -> tuple[LabelEncoder, str | None]:
    """Return the encoding of the labels and the activation of the outputs for a compiled loss, as
    `class_loss.form_of` does.
    """
    if loss is None or isinstance(loss, dict | list | tuple):
        return as_columns, None
    target.predictions(np.full((1, math.prod(shape)), LOW))  # It refuses another width.
    # A text without labels, a text with all of them, and one with every second label. A softmax,
    # which takes one of the labels as right, can't distinguish predictions for the first two.
    texts = np.stack([np.zeros(target.width), np.ones(target.width), target.examples(1)[0]])

    def value(text: Array, right: float, wrong: float) -> float:
        outputs = np.where(text > 0, right, wrong).astype(np.float32).reshape(1, *shape)
        return value_of(loss, as_columns(text[None]), outputs)

    try:
        fits = all(value(text, HIGH, LOW) < value(text, LOW, HIGH) for text in texts)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError):
        fits = False
    if not fits:
        raise SpaceBug(
            "A loss for several labels must take 0 and 1 for each label, and be lower for right"
            f" predictions of each; {name_of(loss)} is not. End the model with a sigmoid, and use"
            " binary_crossentropy.",
            traceback="",
        )
    try:
        near, far = (sum(value(text, end, -end) for text in texts) for end in (NEAR, FAR))
    # A loss may refuse outputs that are no probabilities.
    except (ValueError, TypeError, tf.errors.InvalidArgumentError):
        return as_columns, None
    return as_columns, "sigmoid" if 0 <= far < near else None
