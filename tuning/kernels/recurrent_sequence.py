"""An LSTM or a GRU over a whole sequence, and its gradient, as functions of NumPy arrays.

The loops are in `recurrent_numba`. Neither Keras nor TensorFlow is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuning.kernels import recurrent_numba
from tuning.kernels.compiling import Array, Memory
from tuning.kernels.threads import run_parts
from tuning.kernels.vectors import LANES, PANEL

# A batch of `2 * PART_ROWS` texts or more has `MAX_PARTS` parts, each of which can have its own
# thread. Measured with 128 texts of up to 200 tokens and 128 units, against a step without parts:
# a step on one thread takes 2 % longer with two parts, and 5 % longer with four parts. A step with
# two parts on two threads takes half the time.
PART_ROWS, MAX_PARTS = 32, 2
# The places of the kernel's gates in the columns of `Arguments.weights`, and the other way round.
GATES = [0, 1, 3, 2]


class Reserve(NamedTuple):
    """The arrays of a forward pass that its gradient reads.

    A reserve of one step serves a forward pass without a gradient: each step overwrites the values
    of the step before. `rows` are the texts of all steps (`texts_of_steps`), step after step.

    Attributes:
        sources: (rows, width), the state h before the step, the features, 1 for the bias.
        gates: (rows, 4 padded), after their activation: input, forget, output, candidate of an
            LSTM; update, reset, the state's part of the candidate, candidate of a GRU. The number
            of units is padded to a multiple of vectors.
        cells: (rows, padded), the state c of an LSTM, or h of a GRU, before the step.
    """

    sources: Array
    gates: Array
    cells: Array


class Arguments(NamedTuple):
    """The inputs of an LSTM, or of a GRU that resets the state after its product
    (`reset_after=True`).

    Attributes:
        x: (batch, length, features).
        weights: (features + 1 + units, 4 units), the rows of kernel, bias and recurrent kernel. The
            columns of an LSTM have Keras' order of gates: input, forget, candidate, output. Those
            of a GRU are update, reset, and the parts of the candidate that the features and the
            state contribute: each is 0 in the rows of the other.
        h: (batch, units), the state before the first step.
        c: (batch, units), the cell state before the first step; (batch, 0) for a GRU.
        mask: (batch, length), False where a step is skipped; empty without a mask.
        dropout: (1, batch, features), the factors of each step's features; or (4, batch, features +
            1 + units), the factors of features, bias and state for each gate in the order of the
            weights; or empty.
    """

    x: Array
    weights: Array
    h: Array
    c: Array
    mask: npt.NDArray[np.bool_]
    dropout: Array

    @property
    def is_gru(self) -> bool:
        return bool(self.c.shape[1] == 0)


def reserve_for(arguments: Arguments, n_steps: int, memories: Sequence[Memory]) -> Reserve:
    n_rows, features = n_steps * len(arguments.x), arguments.x.shape[2]
    padded = _padded_units(arguments)
    widths = (_row_length(features, arguments.h.shape[1]), 4 * padded, padded)
    return Reserve(
        *(
            memory.array((n_rows, width), arguments.x.dtype)
            for memory, width in zip(memories, widths, strict=True)
        )
    )


def forward(
    arguments: Arguments,
    reserve: Reserve,
    *,
    return_sequences: bool,
    memory: Memory | None = None,
) -> tuple[Array, Array, Array]:
    """Run the layer and fill `reserve`.

    Return the states h after every step, (batch, length, units), of length 0 without
    `return_sequences`, in `memory` if it is given; and the states h and c after the last step.
    """
    x, weights, h, c, mask, dropout = arguments
    batch, length, features = x.shape
    units, padded = h.shape[1], _padded_units(arguments)
    memory = memory or Memory()
    outputs = memory.array((batch, length if return_sequences else 0, units), x.dtype)
    states = [_padded(h, padded), _padded(c, padded)]
    parts = parts_of_batch(texts_of_steps(mask, batch, length), reserve)
    panels = _panels(_matrix(weights, units, padded))
    factors = _in_order(dropout, features)
    run_parts(
        [
            partial(
                recurrent_numba.run_forward,
                arguments.is_gru,
                *(x, panels, mask, part.order, part.counts, factors, *part.rows, *states, outputs),
            )
            for part in parts
        ]
    )
    return outputs, *_unpadded(states, h, c)


def backward(
    upstream: tuple[Array, Array, Array],
    arguments: Arguments,
    reserve: Reserve,
    *,
    memory: Memory | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Return the gradients of x, weights, h and c, from the gradients of the three outputs of
    `forward` and the reserve that it filled. The gradient of x is in `memory` if it is given.
    """
    x, weights, h, c, mask, dropout = arguments
    batch, length, features = x.shape
    units, padded = h.shape[1], _padded_units(arguments)
    matrix = _matrix(weights, units, padded)
    of_inputs = np.zeros((4 * padded, _multiple(units + features, PANEL)), x.dtype)
    of_inputs[:, : units + features] = matrix[:-1].T
    d_h, d_c = (_padded(d_state, padded) for d_state in upstream[1:])
    parts = parts_of_batch(texts_of_steps(mask, batch, length), reserve)
    panels, factors = _panels(of_inputs), _in_order(dropout, features)
    d_x = (memory or Memory()).array(x.shape, x.dtype)
    d_matrices = np.zeros((len(parts), *matrix.shape), x.dtype)
    run_parts(
        [
            partial(
                recurrent_numba.run_backward,
                arguments.is_gru,
                *(upstream[0], d_h, d_c, panels, mask, part.order, part.counts, factors),
                *(*part.rows, d_x, d_of_part),
            )
            for part, d_of_part in zip(parts, d_matrices, strict=True)
        ]
    )
    d_matrix = d_matrices.sum(axis=0) if len(parts) > 1 else d_matrices[0]
    d_weights = np.empty_like(weights)
    by_gate = d_matrix.reshape(-1, 4, padded)[:, GATES, :units]
    d_weights[_sources(features, units)] = by_gate.reshape(len(weights), -1)
    return d_x, d_weights, *_unpadded([d_h, d_c], h, c)


def texts_of_steps(
    mask: npt.NDArray[np.bool_], batch: int, length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the order in which the kernel takes the texts, int64 (batch,), and the number of texts
    that each step computes, int64 (length,), from the mask (batch, length).

    The longest text comes first, so that the steps skip the padding of shorter texts.
    """
    if len(mask) == 0:
        return np.arange(batch), np.full(length, batch)
    order = np.argsort(-mask.sum(axis=1), kind="stable")
    from_last = mask[order[::-1]]
    return order, np.where(from_last.any(axis=0), batch - from_last.argmax(axis=0), 0)


class Part(NamedTuple):
    """A part of a batch: its texts and the number of texts in each step, as `texts_of_steps`
    returns them, and its rows of the reserve.
    """

    order: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    rows: Reserve


def parts_of_batch(
    texts: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], reserve: Reserve
) -> list[Part]:
    """Cut a batch into parts with about the same number of texts of each length. `texts` is the
    result of `texts_of_steps`.
    """
    order, counts = texts
    n_parts = max(min(len(order) // PART_ROWS, MAX_PARTS), 1)
    keeps, parts, start = len(reserve.sources) >= counts.sum(), [], 0
    for k in range(n_parts):
        of_part = np.ascontiguousarray(order[k::n_parts])
        counts_of_part = (counts + (n_parts - 1 - k)) // n_parts
        end = start + (counts_of_part.sum() if keeps else len(of_part))
        rows = Reserve(*(array[start:end] for array in reserve))
        parts.append(Part(of_part, counts_of_part, rows))
        start = end
    return parts


def compile_kernel() -> None:
    x, weights, state = (np.zeros(shape, np.float32) for shape in ((1, 1, 1), (3, 4), (1, 1)))
    arguments = Arguments(
        x, weights, state, state, np.ones((1, 1), np.bool_), np.ones((1, 1, 1), np.float32)
    )
    reserve = reserve_for(arguments, 1, [Memory()] * 3)
    outputs = forward(arguments, reserve, return_sequences=True)
    backward(outputs, arguments, reserve)


def _multiple(n: int, of: int) -> int:
    """Return the smallest multiple of `of` that is not less than n."""
    return -(-n // of) * of


def _padded_units(arguments: Arguments) -> int:
    # With a dropout for each gate, the matrix is multiplied gate by gate, so a gate must have whole
    # panels. Otherwise it must have whole vectors.
    by_gate = len(arguments.dropout) > 1
    return _multiple(arguments.h.shape[1], PANEL if by_gate else LANES)


def _row_length(features: int, units: int) -> int:
    # An odd number of cache lines of float32. With a power of two, the rows of a column would share
    # few places of the cache.
    return _multiple(features + 1 + units + 16, 32) - 16


def _padded(states: Array, padded: int) -> Array:
    """Return a copy of states (batch, units) with zeros in the padding (batch, padded)."""
    copy = np.zeros((len(states), padded), states.dtype)
    copy[:, : states.shape[1]] = states
    return copy


def _unpadded(padded: list[Array], *states: Array) -> tuple[Array, Array]:
    """Return copies of padded states in the shapes of the states h and c."""
    h, c = (
        np.ascontiguousarray(array[:, : state.shape[1]])
        for array, state in zip(padded, states, strict=True)
    )
    return h, c


def _sources(features: int, units: int) -> npt.NDArray[np.intp]:
    """Return the rows of the weights (features, bias, state) in the order of the sources (state,
    features, bias).
    """
    return np.roll(np.arange(features + 1 + units), units)


def _matrix(weights: Array, units: int, padded: int) -> Array:
    """Return the weights (width, 4 padded), in the order of sources and gates."""
    width = len(weights)
    matrix = np.zeros((width, 4, padded), weights.dtype)
    rows = weights[_sources(width - 1 - units, units)].reshape(width, 4, units)
    matrix[:, :, :units] = rows[:, GATES]
    return matrix.reshape(width, -1)


def _panels(matrix: Array) -> Array:
    """Return a matrix as panels of neighboring columns, one after the other."""
    by_panel = matrix.reshape(len(matrix), -1, PANEL).transpose(1, 0, 2)
    return np.ascontiguousarray(by_panel).reshape(-1)


def _in_order(dropout: Array, features: int) -> Array:
    """Return the dropout in the order of gates and sources."""
    if len(dropout) < 2:
        return dropout
    units = dropout.shape[2] - features - 1
    return np.ascontiguousarray(dropout[GATES][:, :, _sources(features, units)])
