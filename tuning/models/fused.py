"""The kernels that a model trains with on a CPU, in the place of Keras' own code, for as long as it trains.

The rule: the kernels run wherever their terms hold (`fused_lstm.fuse`, `fused_adam.fuse`), because no size was found at which they are
slower. XLA is not used: on these shapes it saves at most a quarter of Keras' time and compiles 4 to 15 seconds for each trial.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from tuning.models import fused_adam, fused_lstm, lstm_kernel


@contextlib.contextmanager
def fused(model: keras.Model) -> Iterator[int]:
    """Train a model inside this context with the kernels; gives the number of layers in them. Afterwards it is Keras' own again."""
    layers, adam = fused_lstm.fuse(model), fused_adam.fuse(model)
    try:
        yield len(layers)
    finally:
        fused_lstm.unfuse(layers)
        if adam:
            fused_adam.unfuse(model)


def compile_kernels() -> None:
    """Have Numba compile the kernels for float32, or load what it has compiled; it runs no TensorFlow operation."""
    fused_adam.compile_kernel()
    lstm_kernel.compile_kernel()
