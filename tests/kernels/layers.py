"""Texts as token ids, models with and without the kernel of LSTM and GRU layers, and the arguments
of the kernel.
"""

from collections.abc import Callable

import keras
import numpy as np

from tuning.kernels.compiling import Memory
from tuning.kernels.recurrent import fuse
from tuning.kernels.recurrent_sequence import Arguments, Reserve, reserve_for

CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
ROWS = 30


def ids(*, n: int, length: int) -> np.ndarray:
    """Return right-padded ids. The first row contains only padding."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, ROWS, (n, length)).astype(np.int32)
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


def arguments_of(
    seed: int,
    *,
    batch: int,
    length: int = 5,
    features: int = 3,
    units: int = 7,
    dropouts: int = 0,
    masked: bool = True,
    is_gru: bool = False,
) -> Arguments:
    """Return the inputs of a layer for texts of 0 to `length` tokens; some have gaps."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    lengths = rng.integers(0, length + 1, batch)
    mask = (np.arange(length) < lengths[:, None]) & (rng.random((batch, length)) < 0.9)
    width = features + 1 + units
    dropped = features if dropouts == 1 else width
    return Arguments(
        normal(batch, length, features),
        normal(width, 4 * units) / 4,
        normal(batch, units),
        normal(batch, 0 if is_gru else units),
        mask if masked else np.zeros((0, 0), np.bool_),
        (rng.random((dropouts, batch, dropped)) < 0.8).astype(np.float32) * 1.25,
    )


def reserve_of(arguments: Arguments, n_steps: int) -> Reserve:
    """Return a reserve without a value that a pass could read before it writes."""
    reserve = reserve_for(arguments, n_steps, [Memory()] * 3)
    for array in reserve:
        array.fill(np.nan)
    return reserve
