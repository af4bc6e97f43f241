"""Train a model with the kernels of this package instead of Keras' own code.

The kernels run wherever their conditions hold (`recurrent.fuse`, `adam.fuse`), because no measured
size of model is slower with them. XLA is not used: for the sizes below it saves at most a quarter
of Keras' time, and compiling takes 4 to 15 seconds for each trial.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from tuning.kernels import adam, recurrent, recurrent_sequence


@contextlib.contextmanager
def fused(model: keras.Model) -> Iterator[int]:
    """Train a model with the kernels inside this context, whose value is the number of LSTM and
    GRU layers that run in the kernel.

    Afterwards the model runs Keras' own code again.
    """
    layers = recurrent.fuse(model)
    adam.fuse(model)
    try:
        yield len(layers)
    finally:
        recurrent.unfuse(layers)
        adam.unfuse(model)


def compile_kernels() -> None:
    """Have Numba compile the kernels for float32, or load the code that it compiled before."""
    # No TensorFlow operation may run here, because the fork server calls this function: a process
    # that was forked after an operation hung in three of three tries.
    adam.compile_kernel()
    recurrent_sequence.compile_kernel()
