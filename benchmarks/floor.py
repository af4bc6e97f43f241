"""The floor, a lower bound, of the time of an LSTM's training step: NumPy's sgemm computes the same
matrix products and nothing else.
"""

from __future__ import annotations

import time

import numpy as np


def floor_flops(*, batch: int, length: int, units: int, features: int) -> int:
    """Return the number of floating-point operations of the matrix products of one step.

    Inputs and states are each multiplied three times: forward, for their own gradient, and for the
    gradient of their weights.
    """
    return 3 * 2 * batch * length * 4 * units * (features + units)


def floor_seconds(*, batch: int, length: int, units: int, features: int, n_steps: int) -> float:
    """Return the seconds of the matrix products of one step, in float32, on all threads of BLAS.

    The products that do not depend on the previous time step are large products outside the time
    loop: the products of the inputs, of their gradient, and of both weight gradients. Inside the
    loop are the product of the state and the product of its gradient. All results are written to
    memory that is allocated before.
    """
    rng = np.random.default_rng(0)
    gates = 4 * units
    x, kernel, recurrent = (
        _random(rng, shape)
        for shape in ((length * batch, features), (features, gates), (units, gates))
    )
    states, d_gates = _random(rng, (length, batch, units)), _random(rng, (length, batch, gates))
    products, d_x, d_state = (
        np.empty_like(d_gates),
        np.empty_like(x),
        np.empty((batch, units), np.float32),
    )
    d_kernel, d_recurrent = np.empty_like(kernel), np.empty_like(recurrent)
    flat_states, flat_gates, flat_products = (
        array.reshape(length * batch, -1) for array in (states, d_gates, products)
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


def _random(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return rng.standard_normal(shape, dtype=np.float32)
