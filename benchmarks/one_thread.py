"""What the two measurements of a training step share: one thread, the epochs of `fit`, and the
floor, a lower bound.
"""

from __future__ import annotations

import contextlib
import resource
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.configurations import BATCH_SIZE


def use_one_thread() -> None:
    """Have BLAS and TensorFlow use one thread in this process."""
    import tensorflow as tf
    import threadpoolctl

    threadpoolctl.threadpool_limits(1, user_api="blas")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


@dataclass(frozen=True)
class Epoch:
    """The wall and CPU seconds of an epoch, and the number of its page faults."""

    seconds: float
    cpu_seconds: float
    page_faults: float


def epochs_of_fit(
    data: Any,
    *,
    vocab_size: int,
    embedding_dim: int,
    units: int,
    n_epochs: int,
    fused: bool = True,
) -> list[Epoch]:
    """Return the epochs of `fit` of a masked LSTM on a `tf.data` dataset, without the first epoch,
    which traces. `fused` uses this program's kernels, and traces as this program does.
    """
    import keras

    from tuning.kernels.fuse import fused as with_kernels
    from tuning.models import lstm_classifier
    from tuning.training.loops import trace_steps

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = lstm_classifier(
        vocab_size=vocab_size,
        embedding_dim=embedding_dim,
        lstm_units=units,
        recurrent_dropout=0.0,
        masked=True,
    )
    marks: list[tuple[float, float, float]] = []

    def mark(*_: Any) -> None:
        page_faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        marks.append((time.perf_counter(), time.process_time(), page_faults))

    clock = keras.callbacks.LambdaCallback(on_epoch_begin=mark, on_epoch_end=mark)
    with with_kernels(model) if fused else contextlib.nullcontext():
        if fused:
            trace_steps(model, data.element_spec, batch=next(iter(data)))
        model.fit(data, epochs=n_epochs, shuffle=False, verbose=0, callbacks=[clock])
    return [
        Epoch(*np.subtract(end, start)) for start, end in zip(marks[2::2], marks[3::2], strict=True)
    ]


def floor_flops(*, length: int, units: int, features: int) -> int:
    """Return the number of floating-point operations of the matrix products of one step of an LSTM.

    Inputs and states are each multiplied three times: forward, for their own gradient, and for the
    gradient of their weights.
    """
    return 3 * 2 * BATCH_SIZE * length * 4 * units * (features + units)


def floor_seconds(*, length: int, units: int, features: int, n_steps: int) -> float:
    """Return the seconds of the matrix products of one step, by NumPy's sgemm and nothing else.

    The products that do not depend on the previous time step are large products outside the time
    loop: the products of the inputs, of their gradient, and of both weight gradients. Inside the
    loop are the product of the state and the product of its gradient. All results are written to
    memory that is allocated before.
    """
    rng, gates = np.random.default_rng(0), 4 * units
    x, kernel, recurrent, states, d_gates = (
        rng.standard_normal(shape, np.float32)
        for shape in (
            *((length * BATCH_SIZE, features), (features, gates), (units, gates)),
            *((length, BATCH_SIZE, units), (length, BATCH_SIZE, gates)),
        )
    )
    products, d_x = np.empty_like(d_gates), np.empty_like(x)
    d_state = np.empty((BATCH_SIZE, units), np.float32)
    d_kernel, d_recurrent = np.empty_like(kernel), np.empty_like(recurrent)
    flat_states, flat_gates, flat_products = (
        array.reshape(length * BATCH_SIZE, -1) for array in (states, d_gates, products)
    )

    def step() -> None:
        np.matmul(x, kernel, out=flat_products)
        for t in range(length):
            np.matmul(states[t], recurrent, out=products[t])
        for t in reversed(range(length)):
            np.matmul(d_gates[t], recurrent.T, out=d_state)
        np.matmul(flat_gates, kernel.T, out=d_x)
        np.matmul(x.T, flat_gates, out=d_kernel)
        np.matmul(flat_states.T, flat_gates, out=d_recurrent)

    step()
    started = time.perf_counter()
    for _ in range(n_steps):
        step()
    return (time.perf_counter() - started) / n_steps
