"""Features and texts for tiny classifiers, and weights with which they tell the texts apart."""

from functools import partial
from typing import Any

import keras
import numpy as np

from tuning.models import bilstm_features, cnn_features, gru_features, mean_features

FEATURES = {
    "mean": mean_features,
    "cnn": partial(cnn_features, filters=2),
    "gru": partial(gru_features, gru_units=2),
    "bilstm": partial(bilstm_features, lstm_units=2),
}
IDS = np.array([[2, 3, 4, 5, 6], [5, 0, 0, 0, 0], [1, 7, 0, 0, 0], [0] * 5], dtype=np.int32)


def padded(ids: Any) -> Any:
    """Return the same texts with three more columns of padding."""
    return np.pad(ids, ((0, 0), (0, 3)))


def spread(model: keras.Model) -> keras.Model:
    """Enlarge the weights of a model, and return the model.

    The optimizer and the random states of the layers are not changed.
    """
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.8, weight.shape))
    return model
