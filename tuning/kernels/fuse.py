"""Train a model with the kernels of this package instead of Keras' own code.

The kernels run wherever their conditions hold (`recurrent.fuse`, `adam.fuse`), because no measured
size of model is slower with them. XLA is not used: for the sizes below it saves at most a quarter
of Keras' time, and compiling takes 4 to 15 seconds for each trial.

Milliseconds for a training step of 128 texts (`make bench-step`: one thread, vocabulary 20,000,
seed 0, Intel Xeon with AVX-512 and AMX, Keras 3.15.1, TensorFlow 2.21, NumPy 2.4.6, PyTorch 2.13),
of the kernel of commit 61ac30e. The floor is the time of the matrix products alone.
`docs/benchmarks.md` has the speed of the present kernel with the lengths of real texts.

    length  units  embedding   Keras   ours   floor  PyTorch
       100     16         16    16.8    5.5     2.3      7.6
       100     32         20    23.2    9.7     5.9     12.7
       200     16         16    33.2    8.9     4.6     14.0
       200     32         32    53.7   25.3    13.2     48.6
       200     64         64   108.6   69.6    47.4    107.9
       200    128         64   223.4  168.8   140.9    249.0
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
