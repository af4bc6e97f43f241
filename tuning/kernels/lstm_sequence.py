"""An LSTM over a whole sequence, and its gradient, as functions of NumPy arrays.

The loops are in `lstm_numba`. Neither Keras nor TensorFlow is imported.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tuning.kernels import lstm_numba
from tuning.kernels.compiling import Array, Mask, aligned, compiled

LANES = 16  # columns in a vector of float32 with AVX-512, or in two with AVX2


class Reserve(NamedTuple):
    """The arrays of a forward pass over `n` steps that its gradient reads; `width` is
    features + 1 + units.

    A reserve of one step serves a forward pass without a gradient: each step overwrites the arrays
    of the last step but one. A step that computes fewer columns than the batch has
    (`count_columns`) stores them contiguously at the beginning of its part.

    Attributes:
        inputs: (n + 1, width, batch), each step's features, a row of ones for the bias, and the
            state h before the step.
        gates: (n, 4 units, batch), after their activation, in the order input, forget, output,
            candidate.
        cells: (n + 1, units, batch), the cell state c before each step.
    """

    inputs: Array
    gates: Array
    cells: Array


class Arguments(NamedTuple):
    """The inputs of an LSTM.

    Attributes:
        x: (length, features, batch).
        weights: (width, 4 units), the rows of kernel, bias and recurrent kernel, with Keras' order
            of gates in the columns (input, forget, candidate, output).
        h: (units, batch), the state before the first step.
        c: (units, batch), the cell state before the first step.
        mask: (length, batch), False where a step is skipped; empty without a mask.
        dropout: (1, features, batch), the factors of each step's features; or (4, width, batch),
            the factors of features, bias and state for each gate in Keras' order; or empty.
    """

    x: Array
    weights: Array
    h: Array
    c: Array
    mask: Mask
    dropout: Array


def reserve_shapes(
    length: int, features: int, units: int, batch: int
) -> tuple[tuple[int, int, int], ...]:
    """The shapes of a `Reserve`'s arrays, in their order."""
    return (
        (length + 1, features + 1 + units, batch),
        (length, 4 * units, batch),
        (length + 1, units, batch),
    )


def forward(
    arguments: Arguments, reserve: Reserve, *, return_sequences: bool
) -> tuple[Array, Array, Array]:
    """Run the LSTM and fill `reserve`.

    Returns:
        The states h after every step, (length, units, batch), empty without `return_sequences`;
        the states h and c after the last step, (units, batch) each.
    """
    x, weights, h, c, mask, dropout = arguments
    h, c = h.copy(), c.copy()
    outputs = aligned((len(x) if return_sequences else 0, *h.shape), x.dtype)
    counts = count_columns(mask, *x.shape[::2])
    matrix = _matrix(weights, len(h), dropout)
    lstm_numba.run_forward(x, matrix, mask, counts, _in_order(dropout), *reserve, h, c, outputs)
    return outputs, h, c


def backward(
    upstream: tuple[Array, Array, Array], arguments: Arguments, reserve: Reserve
) -> tuple[Array, Array, Array, Array]:
    """The gradients of x, weights, h and c.

    Args:
        upstream: the gradients of the three outputs of `forward`.
        arguments: the inputs of `forward`.
        reserve: the reserve that `forward` filled.
    """
    x, weights, h, _, mask, dropout = arguments
    d_outputs, d_h, d_c = upstream[0], upstream[1].copy(), upstream[2].copy()
    matrix = _matrix(weights, len(h), dropout)
    d_x, d_matrix = aligned(x.shape, x.dtype), np.zeros_like(matrix)
    counts = count_columns(mask, *x.shape[::2])
    lstm_numba.run_backward(
        d_outputs, d_h, d_c, matrix, mask, counts, _in_order(dropout), *reserve, d_x, d_matrix
    )
    d_weights = np.empty_like(weights)
    d_weights[:, _order(len(h))] = d_matrix.reshape(-1, len(weights)).T
    return d_x, d_weights, d_h, d_c


@compiled
def count_columns(mask: Any, length: int, batch: int) -> Any:
    """The number of columns that each step computes, int64 (length,), from the mask (length,
    batch).

    The columns after them are masked in this step and in all steps before it, or in all steps
    after it. If the longest texts come first in the batch, the steps skip nearly all padding. The
    numbers are multiples of `LANES`, or the whole batch.
    """
    if len(mask) == 0:
        return np.full(length, batch)
    counts = np.zeros(length, np.int64)
    for column in range(batch):
        steps = np.flatnonzero(mask[:, column])
        if len(steps):
            counts[steps[0] : steps[-1] + 1] = column + 1
    return np.minimum(np.maximum((counts + LANES - 1) // LANES, 1) * LANES, batch)


def compile_kernel() -> None:
    """Have Numba compile the loops for float32, or load the code that it compiled before."""
    x, weights, state = (np.zeros(shape, np.float32) for shape in ((1, 1, 1), (3, 4), (1, 1)))
    arguments = Arguments(
        x, weights, state, state, np.ones((1, 1), np.bool_), np.ones((1, 1, 1), np.float32)
    )
    reserve = Reserve(*(np.zeros(shape, np.float32) for shape in reserve_shapes(1, 1, 1, 1)))
    outputs = forward(arguments, reserve, return_sequences=True)
    backward(outputs, arguments, reserve)


def _order(units: int) -> npt.NDArray[np.intp]:
    """The columns of input, forget, output and candidate gate in Keras' order (input, forget,
    candidate, output).
    """
    i, f, g, o = np.arange(4 * units).reshape(4, units)
    return np.concatenate([i, f, o, g])


def _matrix(weights: Array, units: int, dropout: Array) -> Array:
    """The weights of each group of gates that have the same dropout, (groups, 4 units / groups,
    width).
    """
    ordered = np.ascontiguousarray(weights[:, _order(units)].T)
    return ordered.reshape(max(len(dropout), 1), -1, len(weights))


def _in_order(dropout: Array) -> Array:
    """The dropout of each gate in the order input, forget, output, candidate."""
    return dropout[[0, 1, 3, 2]] if len(dropout) > 1 else dropout
