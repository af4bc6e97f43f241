"""The floor of an LSTM's training step: the time that NumPy's sgemm takes for the same
multiplications, and nothing else.
"""

from __future__ import annotations

import time

import numpy as np


def floor_flops(*, batch: int, length: int, units: int, features: int) -> int:
    """Floating-point operations of the multiplications: inputs and states, each forward, for its
    own gradient and for its weights'.
    """
    return 3 * 2 * batch * length * 4 * units * (features + units)


def floor_seconds(*, batch: int, length: int, units: int, features: int, n_steps: int) -> float:
    """Seconds a training step of the multiplications alone, float32, on as many threads as BLAS
    has.

    What does not depend on the step before is one large multiplication outside the time loop: the
    inputs', their gradient, both weight gradients. Inside the loop stand the state's product and
    the gradient that goes back through it. Results go to memory that exists.
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
