"""An LSTM over a whole sequence and its gradient, compiled by Numba; knows no Keras and no
TensorFlow.

A step is one matrix product over inputs, bias and state, and one pass over the gates, which writes
the new state where the next step reads it. The batch is the last axis, so that every gate is one
contiguous block. Gates stand in the order input, forget, output, candidate: the three sigmoids are
neighbours. Numba keeps what it compiled in `__pycache__`, for this processor.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import overload

Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

LANES = 16  # columns that are computed together: a vector of float32 in AVX-512, two in AVX2

# No check for a division by zero in a loop, and products are added in one operation: with either,
# LLVM can't or won't use vectors.
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


class Reserve(NamedTuple):
    """What the gradient needs of a forward pass over `n` steps; `width` is features + 1 + units.

    `inputs`: (n + 1, width, batch), each step's input, a one for the bias, and the state before it;
    `gates`: (n, 4 units, batch), activated; `cells`: (n + 1, units, batch), before each step. Where
    it holds one step only, each step of `forward` overwrites the last but one. A step of fewer
    columns (`_counts`) has them side by side at the beginning of its part.
    """

    inputs: Array
    gates: Array
    cells: Array


class Arguments(NamedTuple):
    """What an LSTM is computed from.

    `x`: (length, features, batch). `weights`: (width, 4 units), kernel, bias and recurrent kernel,
    in Keras' order of gates (input, forget, candidate, output). `h`, `c`: the states before the
    first step, (units, batch). `mask`: (length, batch), False where a step is left out, or empty.
    `dropout`: what each step's features are multiplied with, (1, features, batch), or what
    features, bias and state are multiplied with for each gate in Keras' order, (4, width, batch),
    or empty.
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
    """The shapes of a `Reserve`'s arrays."""
    return (
        (length + 1, features + 1 + units, batch),
        (length, 4 * units, batch),
        (length + 1, units, batch),
    )


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An empty array that TensorFlow takes as it is; one that doesn't begin at a multiple of 64
    bytes it copies.
    """
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def forward(
    arguments: Arguments, reserve: Reserve, *, return_sequences: bool
) -> tuple[Array, Array, Array]:
    """The state after every step (length, units, batch), empty without `return_sequences`; states
    after the last, (units, batch).
    """
    x, weights, h, c, mask, dropout = arguments
    h, c = h.copy(), c.copy()
    outputs = aligned((len(x) if return_sequences else 0, *h.shape), x.dtype)
    counts = _counts(mask, *x.shape[::2])
    _forward(
        x,
        _matrix(weights, len(h), dropout),
        mask,
        counts,
        _in_order(dropout),
        *reserve,
        h,
        c,
        outputs,
    )
    return outputs, h, c


def backward(
    upstream: tuple[Array, Array, Array], arguments: Arguments, reserve: Reserve
) -> tuple[Array, Array, Array, Array]:
    """The gradients of x, weights, h and c, given those of `forward`'s three outputs and the
    reserve that it filled.
    """
    x, weights, h, _, mask, dropout = arguments
    d_outputs, d_h, d_c = upstream[0], upstream[1].copy(), upstream[2].copy()
    matrix = _matrix(weights, len(h), dropout)
    d_x, d_matrix = aligned(x.shape, x.dtype), np.zeros_like(matrix)
    counts = _counts(mask, *x.shape[::2])
    _backward(
        d_outputs, d_h, d_c, matrix, mask, counts, _in_order(dropout), *reserve, d_x, d_matrix
    )
    d_weights = np.empty_like(weights)
    d_weights[:, _order(len(h))] = d_matrix.reshape(-1, len(weights)).T
    return d_x, d_weights, d_h, d_c


def compile_kernel() -> None:
    """Have Numba compile the kernel for float32, or load what it has compiled."""
    x, weights, state = (np.zeros(shape, np.float32) for shape in ((1, 1, 1), (3, 4), (1, 1)))
    arguments = Arguments(
        x, weights, state, state, np.ones((1, 1), np.bool_), np.ones((1, 1, 1), np.float32)
    )
    reserve = Reserve(*(np.zeros(shape, np.float32) for shape in reserve_shapes(1, 1, 1, 1)))
    outputs = forward(arguments, reserve, return_sequences=True)
    backward(outputs, arguments, reserve)


def tanh(x: Any) -> Any:
    """Within 2e-7 for float32, as vector instructions; the C library's for float64."""
    return np.tanh(x)


@overload(tanh)
def _tanh(x: Any) -> Any:
    """tanh(2 y) = 2 p q / (p² + q²), where p / q is the seventh convergent of Lambert's continued
    fraction (1768) of tanh(y).

    Beyond |x| = 9.2 tanh is 1 to the last bit of a float32. A NaN goes through both comparisons.
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
def _counts(mask: Any, length: int, batch: int) -> Any:
    """How many columns of the batch each step computes: the others, at the end, are masked from
    here on or have been until here.

    In a batch with its longest texts first, a step leaves out nearly all of the padding. Whole
    vectors are computed.
    """
    if len(mask) == 0:
        return np.full(length, batch)
    counts = np.zeros(length, np.int64)
    for column in range(batch):
        here = np.flatnonzero(mask[:, column])
        if len(here):
            counts[here[0] : here[-1] + 1] = column + 1
    return np.minimum(np.maximum((counts + LANES - 1) // LANES, 1) * LANES, batch)


@compiled
def _forward(
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
    """Take the states in `h` and `c` from before the first step to after the last."""
    length, features, batch = x.shape
    groups, rows, width = matrix.shape
    dropped_, products_ = (
        np.empty((width, batch), x.dtype),
        np.empty((groups * rows, batch), x.dtype),
    )
    new_h, new_c = np.empty_like(h), np.empty_like(c)
    _move(_first(new_h, 0), h, _first(inputs[0], counts[0])[features + 1 :])
    _move(_first(new_c, 0), c, _first(cells[0], counts[0]))
    for t in range(length):
        n, n_next = counts[t], counts[t + 1] if t + 1 < length else 0
        source, gate, old = (
            _first(inputs[t % len(inputs)], n),
            _first(gates[t % len(gates)], n),
            _first(cells[t % len(cells)], n),
        )
        products, dropped = _first(products_, n), _first(dropped_, n)
        source[features] = 1
        if len(dropout) == 1:
            _multiply(x[t], dropout[0], source[:features])
        else:
            source[:features] = x[t, :, :n]
        for group in range(groups):
            if groups > 1:
                _multiply(source, dropout[group], dropped)
            np.dot(
                matrix[group],
                dropped if groups > 1 else source,
                products[group * rows : (group + 1) * rows],
            )
        following, following_c = (
            _first(inputs[(t + 1) % len(inputs)], n_next),
            _first(cells[(t + 1) % len(cells)], n_next),
        )
        following_h, state = following[features + 1 :], source[features + 1 :]
        now_h, now_c = (
            (following_h, following_c) if n == n_next else (_first(new_h, n), _first(new_c, n))
        )
        _cell(
            products.reshape(-1),
            gate.reshape(-1),
            old.reshape(-1),
            now_c.reshape(-1),
            now_h.reshape(-1),
        )
        if len(mask) and not mask[t, :n].all():
            _keep(mask[t], old, now_c)
            _keep(mask[t], state, now_h)
        if len(outputs):
            outputs[t, :, :n], outputs[t, :, n:] = now_h, h[:, n:]
        if n != n_next:
            _move(now_h, h, following_h)
            _move(now_c, c, following_c)


@compiled
def _backward(
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
    """The gradients of x and of the matrix; those of the states go from after the last step, in
    `d_h` and `d_c`, to before the first.
    """
    length, features, batch = d_x.shape
    groups, rows, width = matrix.shape
    d_gate_, change = (
        np.empty((groups * rows, batch), d_x.dtype),
        np.empty((rows, width), d_x.dtype),
    )
    total_, part_, dropped_ = (
        np.empty((width, batch), d_x.dtype),
        np.empty((width, batch), d_x.dtype),
        np.empty((width, batch), d_x.dtype),
    )
    d_gates, sources, filled = (
        np.empty_like(d_gate_),
        np.empty_like(total_),
        0,
    )  # of steps with few columns, for one product together
    states = np.empty(
        (4, *d_h.shape), d_x.dtype
    )  # of the step, and as it passes on what it leaves out
    now_h, now_c = _first(states[0], 0), _first(states[1], 0)
    for t in range(length - 1, -1, -1):
        n = counts[t]
        source, gate, old = _first(inputs[t], n), _first(gates[t], n), _first(cells[t], n)
        d_gate, total, part, dropped = (
            _first(d_gate_, n),
            _first(total_, n),
            _first(part_, n),
            _first(dropped_, n),
        )
        passed_h, passed_c = _first(states[2], n), _first(states[3], n)
        if now_h.shape[1] != n:
            now_h, now_c = (
                _moved(now_h, d_h, passed_h, states[0]),
                _moved(now_c, d_c, passed_c, states[1]),
            )
        if len(d_outputs):
            now_h += d_outputs[t, :, :n]
            d_h[:, n:] += d_outputs[t, :, n:]
        skips = len(mask) and not mask[t, :n].all()
        if skips:
            passed_h[:], passed_c[:] = now_h, now_c
        _cell_gradient(
            gate.reshape(-1),
            old.reshape(-1),
            now_h.reshape(-1),
            now_c.reshape(-1),
            d_gate.reshape(-1),
        )
        if skips:
            _blank(mask[t], d_gate)
        for group in range(groups):
            of_group, here = d_gate[group * rows : (group + 1) * rows], part if group else total
            np.dot(matrix[group].T, of_group, here)
            if groups > 1:
                _multiply(here, dropout[group], here)
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
    """Add the product of the columns that are filled to the matrix' gradient; returns how many are
    filled then.
    """
    if filled:
        d_gates[:, filled:], sources[:, filled:] = 0, 0
        np.dot(d_gates, sources.T, change)
        d_matrix += change
    return 0


@compiled
def _first(array: Any, n: int) -> Any:
    """The memory of an array (rows, batch) as one of n columns."""
    return array.reshape(-1)[: len(array) * n].reshape(len(array), n)


@compiled
def _move(now: Any, others: Any, following: Any) -> None:
    """Carry states (units, columns) over to a step of more or fewer columns; `others` (units,
    batch) keeps those that no step has.
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
    """`now`, carried over by way of `room`, as the first columns of `array`."""
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
    """Activate a step's gates, all arrays flat; its cell and its state from them."""
    n, half = len(old), gate.dtype.type(0.5)
    i, f, o, g = product[:n], product[n : 2 * n], product[2 * n : 3 * n], product[3 * n :]
    s_i, s_f, s_o, s_g = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
    for k in range(n):  # sigmoid(x) = (1 + tanh(x / 2)) / 2
        i_k, f_k, o_k = (
            half + half * tanh(half * i[k]),
            half + half * tanh(half * f[k]),
            half + half * tanh(half * o[k]),
        )
        g_k = tanh(g[k])
        s_i[k], s_f[k], s_o[k], s_g[k] = i_k, f_k, o_k, g_k
        c = f_k * old[k] + i_k * g_k
        new[k] = c
        state[k] = o_k * tanh(c)


@compiled
def _cell_gradient(gate: Any, old: Any, d_h: Any, d_c: Any, d_gate: Any) -> None:
    """From the gradients of a step's states to those of its gates before activation, and of its
    former cell, in `d_c`; all flat.
    """
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
    """The products of two arrays (rows, columns), in as many columns as each of the three has."""
    for row in range(len(out)):
        for k in range(min(a.shape[1], out.shape[1])):
            out[row, k] = a[row, k] * b[row, k]


@compiled
def _keep(mask: Any, old: Any, new: Any) -> None:
    """Put the old values (rows, columns) back where the mask is False."""
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


def _order(units: int) -> npt.NDArray[np.intp]:
    """Where the columns input, forget, output, candidate stand in Keras' order, input, forget,
    candidate, output.
    """
    i, f, g, o = np.arange(4 * units).reshape(4, units)
    return np.concatenate([i, f, o, g])


def _matrix(weights: Array, units: int, dropout: Array) -> Array:
    """Weights for each group of gates that share their dropout, (groups, 4 units /
    groups, width).
    """
    ordered = np.ascontiguousarray(weights[:, _order(units)].T)
    return ordered.reshape(max(len(dropout), 1), -1, len(weights))


def _in_order(dropout: Array) -> Array:
    return dropout[[0, 1, 3, 2]] if len(dropout) > 1 else dropout
