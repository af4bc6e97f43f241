"""The loops of an LSTM over a whole sequence, and of its gradient, compiled by Numba.

A step is one matrix product over features, bias and state, and one pass over the gates, which
writes the new state to the place where the next step reads it. The batch is the last axis, so that
each gate is one contiguous block. The gates have the order input, forget, output, candidate, so
that the three sigmoids are neighbors. `lstm_sequence` calls these loops and documents their
arrays; `n` is the number of columns of the batch that a step computes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from tuning.kernels.compiling import compiled


def tanh(x: Any) -> Any:
    """tanh(x): for float32 within 2e-7, in vector instructions; for float64 the C library's."""
    return np.tanh(x)


@overload(tanh)
def _tanh(x: Any) -> Any:
    """tanh(2 y) = 2 p q / (p² + q²), where p / q is the seventh convergent of Lambert's continued
    fraction (1768) of tanh(y).

    For |x| > 9.2, tanh(x) rounds to ±1 in float32. Both comparisons are false for NaN, so that the
    result is NaN.
    """

    def exact(x: Any) -> Any:
        return math.tanh(x)

    f = np.float32

    def approximate(x: Any) -> Any:
        y = f(0.5) * x
        y = f(4.6) if y > f(4.6) else y
        y = f(-4.6) if y < f(-4.6) else y
        z = y * y
        p = y * (((z + f(378)) * z + f(17325)) * z + f(135135))
        q = ((f(28) * z + f(3150)) * z + f(62370)) * z + f(135135)
        return f(2) * p * q / (p * p + q * q)

    return approximate if x == types.float32 else exact


@compiled
def run_forward(
    x: Any,
    matrix: Any,
    mask: Any,
    counts: Any,
    dropout: Any,
    inputs: Any,
    gates: Any,
    cells: Any,
    h: Any,
    c: Any,
    outputs: Any,
) -> None:
    """Replace the states in `h` and `c`, those before the first step, by those after the last."""
    length, features, batch = x.shape
    groups, rows, width = matrix.shape
    all_dropped = np.empty((width, batch), x.dtype)
    all_products = np.empty((groups * rows, batch), x.dtype)
    new_h, new_c = np.empty_like(h), np.empty_like(c)
    _move(_first(new_h, 0), h, _first(inputs[0], counts[0])[features + 1 :])
    _move(_first(new_c, 0), c, _first(cells[0], counts[0]))
    for t in range(length):
        n, n_next = counts[t], counts[t + 1] if t + 1 < length else 0
        source, gate = _first(inputs[t % len(inputs)], n), _first(gates[t % len(gates)], n)
        old = _first(cells[t % len(cells)], n)
        products, dropped = _first(all_products, n), _first(all_dropped, n)
        source[features] = 1
        if len(dropout) == 1:
            _multiply(x[t], dropout[0], source[:features])
        else:
            source[:features] = x[t, :, :n]
        for group in range(groups):
            if groups > 1:
                _multiply(source, dropout[group], dropped)
            factor = dropped if groups > 1 else source
            np.dot(matrix[group], factor, products[group * rows : (group + 1) * rows])
        following = _first(inputs[(t + 1) % len(inputs)], n_next)
        following_c = _first(cells[(t + 1) % len(cells)], n_next)
        following_h, state = following[features + 1 :], source[features + 1 :]
        now_h, now_c = following_h, following_c
        if n != n_next:
            now_h, now_c = _first(new_h, n), _first(new_c, n)
        _cell(products, gate, old, now_c, now_h)
        if len(mask) and not mask[t, :n].all():
            _keep(mask[t], old, now_c)
            _keep(mask[t], state, now_h)
        if len(outputs):
            outputs[t, :, :n], outputs[t, :, n:] = now_h, h[:, n:]
        if n != n_next:
            _move(now_h, h, following_h)
            _move(now_c, c, following_c)


@compiled
def run_backward(
    d_outputs: Any,
    d_h: Any,
    d_c: Any,
    matrix: Any,
    mask: Any,
    counts: Any,
    dropout: Any,
    inputs: Any,
    gates: Any,
    cells: Any,
    d_x: Any,
    d_matrix: Any,
) -> None:
    """Write the gradients of x and of the matrix to `d_x` and `d_matrix`; replace the gradients of
    the states after the last step, in `d_h` and `d_c`, by those of the states before the first.
    """
    length, features, batch = d_x.shape
    groups, rows, width = matrix.shape
    all_d_gate = np.empty((groups * rows, batch), d_x.dtype)
    change = np.empty((rows, width), d_x.dtype)
    all_total = np.empty((width, batch), d_x.dtype)
    all_part, all_dropped = np.empty_like(all_total), np.empty_like(all_total)
    # Steps with few columns collect their columns here, for one matrix product together.
    d_gates, sources, filled = np.empty_like(all_d_gate), np.empty_like(all_total), 0
    # The gradients of h and c, and the parts of them that masked steps pass on unchanged.
    states = np.empty((4, *d_h.shape), d_x.dtype)
    now_h, now_c = _first(states[0], 0), _first(states[1], 0)
    for t in range(length - 1, -1, -1):
        n = counts[t]
        source, gate, old = _first(inputs[t], n), _first(gates[t], n), _first(cells[t], n)
        d_gate, total = _first(all_d_gate, n), _first(all_total, n)
        part, dropped = _first(all_part, n), _first(all_dropped, n)
        passed_h, passed_c = _first(states[2], n), _first(states[3], n)
        if now_h.shape[1] != n:
            now_h = _moved(now_h, d_h, passed_h, states[0])
            now_c = _moved(now_c, d_c, passed_c, states[1])
        if len(d_outputs):
            now_h += d_outputs[t, :, :n]
            d_h[:, n:] += d_outputs[t, :, n:]
        skips = len(mask) and not mask[t, :n].all()
        if skips:
            passed_h[:], passed_c[:] = now_h, now_c
        _cell_gradient(gate, old, now_h, now_c, d_gate)
        if skips:
            _blank(mask[t], d_gate)
        for group in range(groups):
            of_group, product = d_gate[group * rows : (group + 1) * rows], part if group else total
            np.dot(matrix[group].T, of_group, product)
            if groups > 1:
                _multiply(product, dropout[group], product)
                _multiply(source, dropout[group], dropped)
            if group:
                total += part
            if groups > 1 or 2 * n > batch:
                np.dot(of_group, (dropped if groups > 1 else source).T, change)
                d_matrix[group] += change
        if groups == 1 and 2 * n <= batch:
            if filled + n > batch:
                filled = _add_products(d_gates, sources, filled, change, d_matrix[0])
            d_gates[:, filled : filled + n], sources[:, filled : filled + n] = d_gate, source
            filled += n
        _input_gradient(total[:features], dropout, d_x[t])
        now_h[:] = total[features + 1 :]
        if skips:
            now_h += passed_h * np.logical_not(mask[t, :n])
            _keep(mask[t], passed_c, now_c)
    _add_products(d_gates, sources, filled, change, d_matrix[0])
    _move(now_h, d_h, _first(states[2], 0))
    _move(now_c, d_c, _first(states[3], 0))


@compiled
def _add_products(d_gates: Any, sources: Any, filled: int, change: Any, d_matrix: Any) -> int:
    """Add the product of the filled columns to the matrix's gradient; returns 0, the number of
    columns that are filled afterwards.
    """
    if filled:
        d_gates[:, filled:], sources[:, filled:] = 0, 0
        np.dot(d_gates, sources.T, change)
        d_matrix += change
    return 0


@compiled
def _first(array: Any, n: int) -> Any:
    """The beginning of the memory of an array (rows, batch), as an array (rows, n)."""
    return array.reshape(-1)[: len(array) * n].reshape(len(array), n)


@compiled
def _move(now: Any, others: Any, following: Any) -> None:
    """Copy states (units, columns) to a step with more or fewer columns; `others` (units, batch)
    contains the columns that a step does not compute.
    """
    n, n_next = now.shape[1], following.shape[1]
    for row in range(len(now)):
        for k in range(n_next, n):
            others[row, k] = now[row, k]
        for k in range(min(n, n_next)):
            following[row, k] = now[row, k]
        for k in range(n, n_next):
            following[row, k] = others[row, k]


@compiled
def _moved(now: Any, others: Any, room: Any, array: Any) -> Any:
    """`now` with as many columns as `room`, in the beginning of `array`."""
    _move(now, others, room)
    moved = _first(array, room.shape[1])
    moved[:] = room
    return moved


@compiled
def _input_gradient(total: Any, dropout: Any, d_x: Any) -> None:
    n = total.shape[1]
    if len(dropout) == 1:
        _multiply(total, dropout[0], d_x)
    else:
        d_x[:, :n] = total
    d_x[:, n:] = 0


@compiled
def _cell(product: Any, gate: Any, old: Any, new: Any, state: Any) -> None:
    """Apply the activations to the products of a step, then compute its cell state and state."""
    product, gate, old = product.reshape(-1), gate.reshape(-1), old.reshape(-1)
    new, state = new.reshape(-1), state.reshape(-1)
    n, half = len(old), gate.dtype.type(0.5)
    i, f, o, g = product[:n], product[n : 2 * n], product[2 * n : 3 * n], product[3 * n :]
    s_i, s_f, s_o, s_g = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
    for k in range(n):
        # sigmoid(x) = (1 + tanh(x / 2)) / 2
        i_k = half + half * tanh(half * i[k])
        f_k = half + half * tanh(half * f[k])
        o_k = half + half * tanh(half * o[k])
        g_k = tanh(g[k])
        s_i[k], s_f[k], s_o[k], s_g[k] = i_k, f_k, o_k, g_k
        c = f_k * old[k] + i_k * g_k
        new[k] = c
        state[k] = o_k * tanh(c)


@compiled
def _cell_gradient(gate: Any, old: Any, d_h: Any, d_c: Any, d_gate: Any) -> None:
    """From the gradients of a step's states, `d_h` and `d_c`, compute those of its gates before
    their activation, and replace `d_c` by the gradient of the cell state before the step.
    """
    gate, old, d_gate = gate.reshape(-1), old.reshape(-1), d_gate.reshape(-1)
    d_h, d_c = d_h.reshape(-1), d_c.reshape(-1)
    n, one = len(old), gate.dtype.type(1)
    i, f, o, g = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
    d_i, d_f, d_o, d_g = d_gate[:n], d_gate[n : 2 * n], d_gate[2 * n : 3 * n], d_gate[3 * n :]
    for k in range(n):
        i_k, f_k, o_k, g_k, h = i[k], f[k], o[k], g[k], d_h[k]
        th = tanh(f_k * old[k] + i_k * g_k)
        d = d_c[k] + h * o_k * (one - th * th)
        d_o[k] = h * th * o_k * (one - o_k)
        d_i[k] = d * g_k * i_k * (one - i_k)
        d_f[k] = d * old[k] * f_k * (one - f_k)
        d_g[k] = d * i_k * (one - g_k * g_k)
        d_c[k] = d * f_k


@compiled
def _multiply(a: Any, b: Any, out: Any) -> None:
    """Write a × b, all (rows, columns), in the columns that all three arrays have."""
    for row in range(len(out)):
        for k in range(min(a.shape[1], out.shape[1])):
            out[row, k] = a[row, k] * b[row, k]


@compiled
def _keep(mask: Any, old: Any, new: Any) -> None:
    """Restore the old values (rows, columns) where the mask is False."""
    for row in range(len(old)):
        for k in range(old.shape[1]):
            if not mask[k]:
                new[row, k] = old[row, k]


@compiled
def _blank(mask: Any, values: Any) -> None:
    """Set values (rows, columns) to 0 where the mask is False."""
    for row in range(len(values)):
        for k in range(values.shape[1]):
            if not mask[k]:
                values[row, k] = 0
