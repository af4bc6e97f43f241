"""An LSTM over a whole sequence and its gradient, compiled by Numba; knows no Keras and no TensorFlow.

A step is one matrix product over inputs, bias and state, and one pass over the gates, which writes the new state where the next step
reads it. The batch is the last axis, so that every gate is one contiguous block. Gates stand in the order input, forget, output,
candidate: the three sigmoids are neighbours. Numba keeps what it compiled in `__pycache__`, for this processor.
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

# No check for a division by zero in a loop, and products are added in one operation: with either, LLVM can't or won't use vectors.
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


class Reserve(NamedTuple):
    """What the gradient needs of a forward pass over `n` steps; `width` is features + 1 + units.

    `inputs`: (n + 1, width, batch), each step's input, a one for the bias, and the state before it; `gates`: (n, 4 units, batch),
    activated; `cells`: (n + 1, units, batch). Where it holds one step only, each step of `forward` overwrites the last but one.
    """

    inputs: Array
    gates: Array
    cells: Array


class Arguments(NamedTuple):
    """What an LSTM is computed from.

    `x`: (length, features, batch). `weights`: (width, 4 units), kernel, bias and recurrent kernel, in Keras' order of gates (input, forget,
    candidate, output). `h`, `c`: the states before the first step, (units, batch). `mask`: (length, batch), False where a step is left
    out, or empty. `dropout`: what each step's features are multiplied with, (1, features, batch), or what features, bias and state are
    multiplied with for each gate in Keras' order, (4, width, batch), or empty.
    """

    x: Array
    weights: Array
    h: Array
    c: Array
    mask: Mask
    dropout: Array


def reserve_shapes(length: int, features: int, units: int, batch: int) -> tuple[tuple[int, int, int], ...]:
    """The shapes of a `Reserve`'s arrays."""
    return (length + 1, features + 1 + units, batch), (length, 4 * units, batch), (length + 1, units, batch)


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An empty array that TensorFlow takes as it is; one that doesn't begin at a multiple of 64 bytes it copies."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size].view(dtype).reshape(shape)


def forward(arguments: Arguments, reserve: Reserve, *, return_sequences: bool) -> tuple[Array, Array, Array]:
    """The state after every step (length, units, batch), empty without `return_sequences`; states after the last, (units, batch)."""
    x, weights, h, c, mask, dropout = arguments
    (length, features, _), units = x.shape, len(h)
    inputs, gates, cells = reserve
    inputs[:, features], inputs[0, features + 1 :], cells[0] = 1, h, c
    outputs = aligned((length if return_sequences else 0, *h.shape), x.dtype)
    _forward(x, _matrix(weights, units, dropout), mask, _in_order(dropout), inputs, gates, cells, outputs)
    return outputs, inputs[length % len(inputs), features + 1 :].copy(), cells[length % len(cells)].copy()


def backward(upstream: tuple[Array, Array, Array], arguments: Arguments, reserve: Reserve) -> tuple[Array, Array, Array, Array]:
    """The gradients of x, weights, h and c, given those of `forward`'s three outputs and the reserve that it filled."""
    x, weights, h, _, mask, dropout = arguments
    d_outputs, d_h, d_c = upstream[0], upstream[1].copy(), upstream[2].copy()
    matrix = _matrix(weights, len(h), dropout)
    d_x, d_matrix = aligned(x.shape, x.dtype), np.zeros_like(matrix)
    _backward(d_outputs, d_h, d_c, matrix, mask, _in_order(dropout), *reserve, d_x, d_matrix)
    d_weights = np.empty_like(weights)
    d_weights[:, _order(len(h))] = d_matrix.reshape(-1, len(weights)).T
    return d_x, d_weights, d_h, d_c


def compile_kernel() -> None:
    """Have Numba compile the kernel for float32, or load what it has compiled."""
    x, weights, state = (np.zeros(shape, np.float32) for shape in ((1, 1, 1), (3, 4), (1, 1)))
    arguments = Arguments(x, weights, state, state, np.ones((1, 1), np.bool_), np.ones((1, 1, 1), np.float32))
    reserve = Reserve(*(np.zeros(shape, np.float32) for shape in reserve_shapes(1, 1, 1, 1)))
    outputs = forward(arguments, reserve, return_sequences=True)
    backward(outputs, arguments, reserve)


def tanh(x: Any) -> Any:
    """Within 2e-7 for float32, as vector instructions; the C library's for float64."""
    return np.tanh(x)


@overload(tanh)
def _tanh(x: Any) -> Any:
    """tanh(2 y) = 2 p q / (p² + q²), where p / q is the seventh convergent of Lambert's continued fraction (1768) of tanh(y).

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
def _forward(x: Any, matrix: Any, mask: Any, dropout: Any, inputs: Any, gates: Any, cells: Any, outputs: Any) -> None:
    length, features, batch = x.shape
    groups, rows, width = matrix.shape
    dropped, products = np.empty((width, batch), x.dtype), np.empty((groups, rows, batch), x.dtype)
    for t in range(length):
        source, following = inputs[t % len(inputs)], inputs[(t + 1) % len(inputs)]
        gate, old, new = gates[t % len(gates)], cells[t % len(cells)], cells[(t + 1) % len(cells)]
        if len(dropout) == 1:
            _multiply(x[t].reshape(-1), dropout[0].reshape(-1), source[:features].reshape(-1))
        else:
            source[:features] = x[t]
        for group in range(groups):
            if groups > 1:
                _multiply(source.reshape(-1), dropout[group].reshape(-1), dropped.reshape(-1))
            np.dot(matrix[group], dropped if groups > 1 else source, products[group])
        state, next_state = source[features + 1 :], following[features + 1 :]
        _cell(products.reshape(-1), gate.reshape(-1), old.reshape(-1), new.reshape(-1), next_state.reshape(-1))
        if len(mask) and not mask[t].all():
            _keep(mask[t], old, new)
            _keep(mask[t], state, next_state)
        if len(outputs):
            outputs[t] = next_state


@compiled
def _backward(
    d_outputs: Any, d_h: Any, d_c: Any, matrix: Any, mask: Any, dropout: Any, inputs: Any, gates: Any, cells: Any, d_x: Any, d_matrix: Any
) -> None:
    """The gradients of x and of the matrix; those of the states go from after the last step, in `d_h` and `d_c`, to before the first."""
    length, features, batch = d_x.shape
    groups, rows, width = matrix.shape
    d_gate, change = np.empty((groups, rows, batch), d_x.dtype), np.empty((rows, width), d_x.dtype)
    total, part, dropped = np.empty((width, batch), d_x.dtype), np.empty((width, batch), d_x.dtype), np.empty((width, batch), d_x.dtype)
    passed_h, passed_c = np.empty_like(d_h), np.empty_like(d_c)
    for t in range(length - 1, -1, -1):
        if len(d_outputs):
            d_h += d_outputs[t]
        skips = len(mask) and not mask[t].all()
        if skips:
            passed_h[:], passed_c[:] = d_h, d_c
        _cell_gradient(
            gates[t].reshape(-1), cells[t].reshape(-1), cells[t + 1].reshape(-1), d_h.reshape(-1), d_c.reshape(-1), d_gate.reshape(-1)
        )
        if skips:
            _blank(mask[t], d_gate.reshape(-1, batch))
        for group in range(groups):
            here = part if group else total
            np.dot(matrix[group].T, d_gate[group], here)
            if groups > 1:
                _multiply(here.reshape(-1), dropout[group].reshape(-1), here.reshape(-1))
                _multiply(inputs[t].reshape(-1), dropout[group].reshape(-1), dropped.reshape(-1))
            if group:
                total += part
            np.dot(d_gate[group], (dropped if groups > 1 else inputs[t]).T, change)
            d_matrix[group] += change
        d_x[t], d_h[:] = total[:features], total[features + 1 :]
        if len(dropout) == 1:
            _multiply(d_x[t].reshape(-1), dropout[0].reshape(-1), d_x[t].reshape(-1))
        if skips:
            d_h += passed_h * np.logical_not(mask[t])
            _keep(mask[t], passed_c, d_c)


@compiled
def _cell(product: Any, gate: Any, old: Any, new: Any, state: Any) -> None:
    """Activate a step's gates, all arrays flat; its cell and its state from them."""
    n, half = len(old), gate.dtype.type(0.5)
    i, f, o, g = product[:n], product[n : 2 * n], product[2 * n : 3 * n], product[3 * n :]
    s_i, s_f, s_o, s_g = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
    for k in range(n):  # sigmoid(x) = (1 + tanh(x / 2)) / 2
        i_k, f_k, o_k = half + half * tanh(half * i[k]), half + half * tanh(half * f[k]), half + half * tanh(half * o[k])
        g_k = tanh(g[k])
        s_i[k], s_f[k], s_o[k], s_g[k] = i_k, f_k, o_k, g_k
        c = f_k * old[k] + i_k * g_k
        new[k] = c
        state[k] = o_k * tanh(c)


@compiled
def _cell_gradient(gate: Any, old: Any, new: Any, d_h: Any, d_c: Any, d_gate: Any) -> None:
    """From the gradients of a step's states to those of its gates before activation, and of its former cell, in `d_c`; all flat."""
    n, one = len(old), gate.dtype.type(1)
    i, f, o, g = gate[:n], gate[n : 2 * n], gate[2 * n : 3 * n], gate[3 * n :]
    d_i, d_f, d_o, d_g = d_gate[:n], d_gate[n : 2 * n], d_gate[2 * n : 3 * n], d_gate[3 * n :]
    for k in range(n):
        i_k, f_k, o_k, g_k, h, th = i[k], f[k], o[k], g[k], d_h[k], tanh(new[k])
        d = d_c[k] + h * o_k * (one - th * th)
        d_o[k] = h * th * o_k * (one - o_k)
        d_i[k] = d * g_k * i_k * (one - i_k)
        d_f[k] = d * old[k] * f_k * (one - f_k)
        d_g[k] = d * i_k * (one - g_k * g_k)
        d_c[k] = d * f_k


@compiled
def _multiply(a: Any, b: Any, out: Any) -> None:
    for k in range(len(a)):
        out[k] = a[k] * b[k]


@compiled
def _keep(mask: Any, old: Any, new: Any) -> None:
    """Put the old values (rows, batch) back where the mask (batch,) is False."""
    for row in range(len(old)):
        for k in range(len(mask)):
            if not mask[k]:
                new[row, k] = old[row, k]


@compiled
def _blank(mask: Any, values: Any) -> None:
    """Set values (rows, batch) to 0 where the mask (batch,) is False."""
    for row in range(len(values)):
        for k in range(len(mask)):
            if not mask[k]:
                values[row, k] = 0


def _order(units: int) -> npt.NDArray[np.intp]:
    """Where the columns input, forget, output, candidate stand in Keras' order, input, forget, candidate, output."""
    i, f, g, o = np.arange(4 * units).reshape(4, units)
    return np.concatenate([i, f, o, g])


def _matrix(weights: Array, units: int, dropout: Array) -> Array:
    """Weights for each group of gates that share their dropout, (groups, 4 units / groups, width)."""
    ordered = np.ascontiguousarray(weights[:, _order(units)].T)
    return ordered.reshape(max(len(dropout), 1), -1, len(weights))


def _in_order(dropout: Array) -> Array:
    return dropout[[0, 1, 3, 2]] if len(dropout) > 1 else dropout
