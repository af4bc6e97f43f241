"""An LSTM over a whole sequence and its gradient, in NumPy; knows no Keras and no TensorFlow.

A step is one matrix product over inputs, bias and state, written where the next step reads it, and one tanh over all gates
(sigmoid(x) = (1 + tanh(x / 2)) / 2). The batch is the last axis, so that every gate is one contiguous block. Gates stand in the
order input, forget, output, candidate: the three sigmoids are neighbours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


class Reserve(NamedTuple):
    """What the gradient needs of a forward pass over `n` steps; `width` is features + 1 + units.

    `inputs`: (n + 1, width, batch), each step's input, a one for the bias, and the state before it; `gates`: (n, 4 units, batch),
    activated; `cells`: (n + 1, units, batch). Where it holds one step only, each step of `forward` overwrites the last.
    """

    inputs: Array
    gates: Array
    cells: Array


class Arguments(NamedTuple):
    """What an LSTM is computed from.

    `x`: (length, features, batch). `weights`: (width, 4 units), kernel, bias and recurrent kernel, in Keras' order of gates (input, forget,
    candidate, output). `h`, `c`: the states before the first step, (units, batch). `mask`: (length, batch), False where a step is left
    out, or empty. `dropout`: what each step's inputs are multiplied with, (1, width, batch) for all gates or (4, width, batch) for
    each in Keras' order, or empty.
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


def forward(arguments: Arguments, reserve: Reserve, *, return_sequences: bool) -> tuple[Array, Array, Array]:
    """The state after every step (length, units, batch), empty without `return_sequences`; states after the last, (units, batch)."""
    x, weights, h, c, mask, dropout = arguments
    (length, features, _), units = x.shape, len(h)
    inputs, gates, cells = reserve
    matrix, dropout = _matrix(weights, units, dropout, halved=True), _in_order(dropout)
    outputs = np.empty((length if return_sequences else 0, *h.shape), x.dtype)
    dropped, product, states = np.empty_like(dropout), np.empty_like(h), np.stack([h, h])
    cells[0], inputs[:, features] = c, 1
    skips = _skips(mask, length)
    for t in range(length):
        source, gate, old, new = inputs[t % len(inputs)], gates[t % len(gates)], cells[t % len(cells)], cells[(t + 1) % len(cells)]
        state, next_state = states[t % 2], states[(t + 1) % 2]
        source[:features], source[features + 1 :] = x[t], state
        np.matmul(matrix, _times(source, dropout, out=dropped), out=gate.reshape(*matrix.shape[:2], -1))
        np.tanh(gate, out=gate)
        sigmoids = gate[: 3 * units]
        sigmoids *= 0.5
        sigmoids += 0.5
        i, f, o, g = gate.reshape(4, units, -1)
        np.multiply(f, old, out=new)
        new += np.multiply(i, g, out=product)
        np.multiply(o, np.tanh(new, out=product), out=next_state)
        if skips[t]:
            np.copyto(new, old, where=~mask[t])
            np.copyto(next_state, state, where=~mask[t])
        if return_sequences:
            outputs[t] = next_state
    return outputs, states[length % 2], cells[length % len(cells)].copy()


def backward(upstream: tuple[Array, Array, Array], arguments: Arguments, reserve: Reserve) -> tuple[Array, Array, Array, Array]:
    """The gradients of x, weights, h and c, given those of `forward`'s three outputs and the reserve that it filled."""
    x, weights, h, _, mask, dropout = arguments
    (length, features, batch), units = x.shape, len(h)
    matrix, dropout = _matrix(weights, units, dropout, halved=False), _in_order(dropout)
    d_outputs, d_h, d_c = upstream[0], upstream[1].copy(), upstream[2].copy()
    d_x, d_matrix, d_source = np.empty_like(x), np.zeros_like(matrix), np.empty((len(matrix), *reserve.inputs.shape[1:]), x.dtype)
    change, dropped = np.empty_like(matrix), np.empty_like(dropout)
    d_gate, slope = np.empty((2, 4 * units, batch), x.dtype)
    by_gate, transposed = d_gate.reshape(*matrix.shape[:2], batch), matrix.transpose(0, 2, 1)
    skips = _skips(mask, length)
    for t in reversed(range(length)):
        if len(d_outputs):
            d_h += d_outputs[t]
        if skips[t]:
            passed = np.where(mask[t], 0, d_h), np.where(mask[t], 0, d_c)
        _gate_gradient(reserve.gates[t], reserve.cells[t], reserve.cells[t + 1], d_h, d_c, d_gate=d_gate, slope=slope)
        if skips[t]:
            d_gate *= mask[t]
        np.matmul(transposed, by_gate, out=d_source)
        np.matmul(by_gate, _times(reserve.inputs[t], dropout, out=dropped).swapaxes(-1, -2), out=change)
        d_matrix += change
        total = _times(d_source, dropout, out=d_source).sum(axis=0) if len(d_source) > 1 else _times(d_source, dropout, out=d_source)[0]
        d_x[t], d_h = total[:features], total[features + 1 :]
        if skips[t]:
            d_h += passed[0]
            np.copyto(d_c, passed[1], where=~mask[t])
    d_weights = np.empty_like(weights)
    d_weights[:, _order(units)] = d_matrix.reshape(4 * units, -1).T
    return d_x, d_weights, d_h.copy(), d_c


def _gate_gradient(gate: Array, old: Array, new: Array, d_h: Array, d_c: Array, *, d_gate: Array, slope: Array) -> None:
    """From the gradients of a step's states to those of its gates before activation, in `d_gate`, and of its former cell, in `d_c`.

    `d_h` is used up; `slope` is room for the slopes: s - s² of a sigmoid, 1 - t² of a tanh.
    """
    units = len(d_h)
    i, f, o, g = gate.reshape(4, units, -1)
    d_i, d_f, d_o, d_g = d_gate.reshape(4, units, -1)
    tanh = np.tanh(new, out=slope[:units])
    np.multiply(d_h, tanh, out=d_o)
    d_h *= o
    d_c += d_h
    tanh *= tanh
    d_c -= np.multiply(d_h, tanh, out=tanh)
    np.multiply(d_c, g, out=d_i)
    np.multiply(d_c, old, out=d_f)
    np.multiply(d_c, i, out=d_g)
    np.multiply(gate, gate, out=slope)
    np.subtract(gate[: 3 * units], slope[: 3 * units], out=slope[: 3 * units])
    np.subtract(1, slope[3 * units :], out=slope[3 * units :])
    d_gate *= slope
    d_c *= f


def _order(units: int) -> npt.NDArray[np.intp]:
    """Where the columns input, forget, output, candidate stand in Keras' order, input, forget, candidate, output."""
    i, f, g, o = np.arange(4 * units).reshape(4, units)
    return np.concatenate([i, f, o, g])


def _matrix(weights: Array, units: int, dropout: Array, *, halved: bool) -> Array:
    """Weights for each group of gates that share their dropout, (groups, 4 units / groups, width); `halved`: the sigmoids' by 2."""
    ordered = np.ascontiguousarray(weights[:, _order(units)].T)
    if halved:
        ordered[: 3 * units] *= 0.5
    return ordered.reshape(max(len(dropout), 1), -1, len(weights))


def _in_order(dropout: Array) -> Array:
    return dropout[[0, 1, 3, 2]] if len(dropout) > 1 else dropout


def _times(values: Array, factor: Array, *, out: Array) -> Array:
    """`values` times `factor`, with its leading axis; as they are where `factor` is empty."""
    if factor.size:
        return np.multiply(values, factor, out=out)
    return values if values.ndim > 2 else values[None]


def _skips(mask: Mask, length: int) -> Mask:
    """Whether any text has no token at a step."""
    return np.logical_not(mask.all(axis=1)) if len(mask) else np.zeros(length, bool)
