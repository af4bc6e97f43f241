"""The loops of an LSTM or a GRU over a whole sequence, and of its gradient, compiled by Numba.

The batch is the first axis, as in Keras. A step computes the first `counts[t]` texts of `order`,
and its rows follow those of the step before, so that the rows of several steps are one matrix. Each
step is one matrix product over state, features and bias, and one pass over the gates.
`recurrent_sequence` calls these loops and documents their arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tuning.kernels.compiling import compiled
from tuning.kernels.vectors import (
    PANEL,
    TILE_ROWS,
    gru_cell,
    gru_gradient,
    lstm_cell,
    lstm_gradient,
    tile,
)

# Numba's cache is not invalidated by a change in `vectors`. The checksum of `vectors` changes this
# file with that module; a test compares the checksum.
CHECKSUM = "0222f6aa29a0ece5"
# Number of texts whose products are still in the cache when their activations are applied: a
# multiple of both values of `TILE_ROWS`, 6 and 12, so a whole block needs no smaller tile.
BLOCK_ROWS = 24
# Minimum number of rows whose products are added to the matrix's gradient at once.
CHUNK_ROWS = 192


@compiled
def run_forward(
    is_gru: Any,
    x: Any,
    panels: Any,
    mask: Any,
    order: Any,
    counts: Any,
    dropout: Any,
    sources: Any,
    gates: Any,
    cells: Any,
    h: Any,
    c: Any,
    outputs: Any,
) -> None:
    """Replace the states of the texts `order` in `h` and `c` before the first step by the states
    after the last step.
    """
    _, length, features = x.shape
    units, padded, depth = outputs.shape[2], h.shape[1], outputs.shape[2] + features + 1
    width, row = sources.shape[1], gates.shape[1]
    groups = 4 if len(dropout) > 1 else 1
    columns = 4 * padded // groups
    keeps = len(sources) >= counts.sum()
    dropped = np.empty((BLOCK_ROWS if groups > 1 else 0, width), x.dtype)
    start = 0
    for t in range(length):
        _fill(sources[start:], x, t, order[: counts[t]], dropout, h, units)
        for first in range(0, counts[t], BLOCK_ROWS):
            size, top = min(BLOCK_ROWS, counts[t] - first), start + first
            factor, at_factor = sources, top * width
            for group in range(groups):
                if groups > 1:
                    _drop(sources, top, order[first : first + size], dropout[group], dropped, 0)
                    factor, at_factor = dropped, 0
                _multiply(
                    size,
                    depth,
                    (factor, at_factor, width, 1),
                    (panels, group * columns * depth, PANEL * depth, PANEL),
                    columns // PANEL,
                    (gates, top * row + group * columns, row),
                    False,
                )
            for k in range(size):
                text, place = order[first + k], top + k
                if len(mask) == 0 or mask[text, t]:
                    at, old = text * padded, place * padded
                    if is_gru:
                        gru_cell(gates, place * row, cells, old, h, at, padded)
                    else:
                        lstm_cell(gates, place * row, c, at, cells, old, h, at, padded)
        if outputs.shape[1]:
            for text in order:
                for j in range(units):
                    outputs[text, t, j] = h[text, j]
        if keeps:
            start += counts[t]


@compiled
def run_backward(
    is_gru: Any,
    d_outputs: Any,
    d_h: Any,
    d_c: Any,
    panels: Any,
    mask: Any,
    order: Any,
    counts: Any,
    dropout: Any,
    sources: Any,
    gates: Any,
    cells: Any,
    d_x: Any,
    d_matrix: Any,
) -> None:
    """Write the gradients of x and of the matrix for the texts `order` to `d_x` and `d_matrix`.
    Replace the gradients of the states after the last step, in `d_h` and `d_c`, by the gradients of
    the states before the first step.
    """
    _, length, features = d_x.shape
    padded, row, units = d_h.shape[1], gates.shape[1], d_outputs.shape[2]
    groups = 4 if len(dropout) > 1 else 1
    columns, n_panels = 4 * padded // groups, -(-(units + features) // PANEL)
    # The rows of several steps collect here from the end, for one product with their sources. The
    # distance of two rows is an odd number of cache lines: with a power of two, the lines of a
    # column would share few places of the cache.
    room = max(len(order), CHUNK_ROWS)
    d_gates = np.empty((room, row + 16), d_x.dtype)
    dropped = np.empty((room if groups > 1 else 0, sources.shape[1]), d_x.dtype)
    total = np.empty((len(order), n_panels * PANEL), d_x.dtype)
    part = np.empty_like(total)
    start = end = counts.sum()
    end_step, texts = length, (order, counts, dropout)
    for t in range(length - 1, -1, -1):
        n = counts[t]
        if d_outputs.shape[1]:
            for text in order:
                for j in range(units):
                    d_h[text, j] += d_outputs[text, t, j]
        if end - start + n > room:
            _add_product((start, end, t + 1, end_step), texts, sources, dropped, d_gates, d_matrix)
            end, end_step = start, t + 1
        start -= n
        top = room - (end - start)
        for k in range(n):
            text, place = order[k], start + k
            if len(mask) == 0 or mask[text, t]:
                to, at, old = (top + k) * (row + 16), text * padded, place * padded
                gate = place * row
                if is_gru:
                    gru_gradient(gates, gate, cells, old, d_h, at, d_c, at, d_gates, to, padded)
                else:
                    lstm_gradient(gates, gate, cells, old, d_h, at, d_c, at, d_gates, to, padded)
            else:
                d_gates[top + k] = 0
        for group in range(groups):
            product = part if group else total
            _multiply(
                n,
                columns,
                (d_gates, top * (row + 16) + group * columns, row + 16, 1),
                (panels, group * columns * PANEL, 4 * padded * PANEL, PANEL),
                n_panels,
                (product, 0, n_panels * PANEL),
                False,
            )
            if groups > 1:
                _drop(product, 0, order[:n], dropout[group], product, 0)
            if group:
                total[:n] += part[:n]
        _hand_on(total, t, (order, n), mask, dropout, (d_h, d_c, d_x), units, is_gru)
    _add_product((start, end, 0, end_step), texts, sources, dropped, d_gates, d_matrix)


@compiled
def _add_product(
    span: Any, texts: Any, sources: Any, dropped: Any, d_gates: Any, d_matrix: Any
) -> None:
    """Add the product of the sources and the gradients of the gates of some steps to the matrix's
    gradient.

    Args:
        span: first row, end of the rows, first step, end of the steps.
        texts: the order of the texts, the number of texts in each step, and the dropout.
    """
    (start, end, first_step, end_step), (order, counts, dropout) = span, texts
    depth, row = d_matrix.shape
    groups = 4 if len(dropout) > 1 else 1
    columns, width = row // groups, sources.shape[1]
    factor, at_factor = sources, start * width
    for group in range(groups):
        if groups > 1:
            place = 0
            for t in range(first_step, end_step):
                _drop(sources, start + place, order[: counts[t]], dropout[group], dropped, place)
                place += counts[t]
            factor, at_factor = dropped, 0
        _multiply(
            depth,
            end - start,
            (factor, at_factor, 1, width),
            (
                d_gates,
                (len(d_gates) - (end - start)) * d_gates.shape[1] + group * columns,
                PANEL,
                d_gates.shape[1],
            ),
            columns // PANEL,
            (d_matrix, group * columns, row),
            True,
        )


@compiled
def _fill(sources: Any, x: Any, t: int, texts: Any, dropout: Any, h: Any, units: int) -> None:
    """Write the rows of a step: the state of each text, its features, and 1 for the bias."""
    features = x.shape[2]
    for k, text in enumerate(texts):
        for j in range(units):
            sources[k, j] = h[text, j]
        for j in range(features):
            sources[k, units + j] = x[text, t, j]
        if len(dropout) == 1:
            for j in range(features):
                sources[k, units + j] *= dropout[0, text, j]
        sources[k, units + features] = 1


@compiled
def _hand_on(
    total: Any, t: int, texts: Any, mask: Any, dropout: Any, to: Any, units: int, is_gru: Any
) -> None:
    """Write the gradients of a step's rows to the gradients of the states and of the features.

    Args:
        texts: all texts, and the number of texts that the step computes: the gradients of the other
            texts' features are 0.
        to: the gradients of the states and of the features. Of a GRU, the second contains the part
            of the state's gradient that does not pass through the gates.
    """
    (order, n), (d_h, d_c, d_x) = texts, to
    features = d_x.shape[2]
    for k, text in enumerate(order):
        if k < n and (len(mask) == 0 or mask[text, t]):
            for j in range(units):
                d_h[text, j] = total[k, j]
                if is_gru:
                    d_h[text, j] += d_c[text, j]
            for j in range(features):
                d_x[text, t, j] = total[k, units + j]
            if len(dropout) == 1:
                for j in range(features):
                    d_x[text, t, j] *= dropout[0, text, j]
        else:
            for j in range(features):
                d_x[text, t, j] = 0


@compiled
def _drop(a: Any, top: int, texts: Any, factors: Any, out: Any, out_top: int) -> None:
    """Write the rows of `a` that belong to these texts, times the factors of each text."""
    for k, text in enumerate(texts):
        for j in range(min(factors.shape[1], out.shape[1])):
            out[out_top + k, j] = a[top + k, j] * factors[text, j]


@compiled
def _multiply(
    n: int, depth: int, of_a: Any, of_b: Any, n_panels: int, of_c: Any, adds: Any
) -> None:
    """Write, or add if `adds`, the product of A (n, depth) and B (depth, n_panels panels) to C.

    Args:
        of_a: array, start, and the distances of two rows and of two columns.
        of_b: array, start, and the distances of two panels and of two rows. A panel is
            `PANEL` wide.
        of_c: array, start, and the distance of two rows.
    """
    a, at_a, row_a, step_a = of_a
    b, at_b, panel_b, step_b = of_b
    c, at_c, row_c = of_c
    for p in range(n_panels):
        x, y, r = at_b + p * panel_b, at_c + p * PANEL, 0
        while r + TILE_ROWS <= n:
            u, z = at_a + r * row_a, y + r * row_c
            tile(TILE_ROWS, a, u, row_a, step_a, b, x, step_b, c, z, row_c, depth, adds)
            r += TILE_ROWS
        if TILE_ROWS > 6:  # noqa: SIM102  # Numba removes only a branch on constants alone.
            if n - r >= 6:
                u, z = at_a + r * row_a, y + r * row_c
                tile(6, a, u, row_a, step_a, b, x, step_b, c, z, row_c, depth, adds)
                r += 6
        u, z = at_a + r * row_a, y + r * row_c
        if n - r == 1:
            tile(1, a, u, row_a, step_a, b, x, step_b, c, z, row_c, depth, adds)
        elif n - r == 2:
            tile(2, a, u, row_a, step_a, b, x, step_b, c, z, row_c, depth, adds)
        elif n - r == 3:
            tile(3, a, u, row_a, step_a, b, x, step_b, c, z, row_c, depth, adds)
        elif n - r == 4:
            tile(4, a, u, row_a, step_a, b, x, step_b, c, z, row_c, depth, adds)
        elif n - r == 5:
            tile(5, a, u, row_a, step_a, b, x, step_b, c, z, row_c, depth, adds)
