"""The form of several labels that a compiled loss takes: a column of 0 and 1 for each label; and
whether its outputs are probabilities or logits.
"""

from __future__ import annotations

import math
import operator
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
    if loss is None or isinstance(loss, dict | list | tuple):
        return as_columns, None
    try:
        target.predictions(np.full((1, math.prod(shape)), LOW))
    except ValueError as error:  # The output has another width.
        raise SpaceBug(str(error)) from error
    # A text without labels, a text with all of them, and one with every second label. A softmax,
    # which takes one of the labels as right, can't distinguish predictions for the first two.
    texts = np.stack([np.zeros(target.width), np.ones(target.width), target.examples(1)[0]])

    def values(right: float, wrong: float) -> list[float]:
        outputs = np.where(texts > 0, right, wrong).astype(np.float32).reshape(-1, 1, *shape)
        pairs = zip(as_columns(texts)[:, None], outputs, strict=True)
        try:
            return [value_of(loss, *pair) for pair in pairs]
        # A loss for numbers is refused. Others may refuse columns of 0 and 1, or outputs that are
        # no probabilities.
        except (SpaceBug, ValueError, TypeError, tf.errors.InvalidArgumentError):
            return [math.inf] * len(texts)

    if not all(map(operator.lt, values(HIGH, LOW), values(LOW, HIGH))):
        raise SpaceBug(
            "A loss for several labels must be for 0 and 1, and lower for right probabilities of"
            f" each label; {name_of(loss)} is not. End the model with a sigmoid, and use"
            " binary_crossentropy.",
        )
    near, far = (sum(values(output, -output)) for output in (NEAR, FAR))
    return as_columns, "sigmoid" if 0 <= far < near else None
