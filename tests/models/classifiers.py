"""Texts for tiny classifiers, and weights with which they tell these texts apart."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from tuning.models import TrainingOptions, words_classifier

IDS = np.array([[2, 3, 4, 5, 6], [5, 0, 0, 0, 0], [1, 7, 0, 0, 0], [0] * 5], dtype=np.int32)


def padded(ids: Any) -> Any:
    """Return the same texts with three more columns of padding."""
    return np.pad(ids, ((0, 0), (0, 3)))


def classifier(
    features: Callable[..., Any],
    *,
    n_classes: int = 2,
    training: TrainingOptions | None = None,
    **sizes: Any,
) -> keras.Model:
    """Return a classifier of the features of a builder with these sizes."""
    return words_classifier(
        partial(features, **sizes), n_classes=n_classes, training=training or TrainingOptions()
    )


def spread(model: keras.Model) -> keras.Model:
    """Enlarge the weights of a model, and return the model.

    The optimizer and the random states of the layers are not changed.
    """
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.8, weight.shape))
    return model
