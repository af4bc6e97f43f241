"""Texts as token ids, and models with and without the kernel of LSTM and GRU layers."""

from collections.abc import Callable

import keras
import numpy as np

from tuning.kernels.recurrent import fuse

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
ROWS = 30


def ids(*, n: int, length: int, full: bool = False, seed: int = 0) -> np.ndarray:
    """Return right-padded ids. Unless `full` is set, the first row contains only padding."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, ROWS, (n, length)).astype(np.int32)
    if not full:
        lengths = rng.integers(1, length + 1, n)
        lengths[0] = 0
        x[np.arange(length) >= lengths[:, None]] = 0
    return x


def pair(build: Callable[[], keras.Model], n_layers: int = 1) -> tuple[keras.Model, keras.Model]:
    """Return Keras' model, and a model with the same weights whose LSTM layers are fused."""
    models = []
    for _ in range(2):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        models.append(build())
    assert len(fuse(models[1])) == n_layers
    return models[0], models[1]
