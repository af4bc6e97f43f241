"""The gates and states of one text in one step of an LSTM or a GRU, and their gradients, in vector
instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types

from tuning.kernels.vectors import Vectors, cgutils, intrinsic, pointer_to

# The number of units is padded to a multiple of this: eight float32 are a vector of 32 bytes, and
# eight float64 are two.
LANES = 8
_BYTES = 32


@intrinsic  # type: ignore[untyped-decorator]
def lstm_cell(
    typing: Any,
    gates: Any,
    at_gates: Any,
    c: Any,
    at_c: Any,
    old: Any,
    at_old: Any,
    h: Any,
    at_h: Any,
    units: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Apply the activations to a text's gates input, forget, output, candidate; copy its cell state
    `c` to `old`, and replace its states `c` and `h` by those after the step.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        gates_, at_gates_, c_, at_c_, old_, at_old_, h_, at_h_, units_ = arguments
        v = Vectors(context, builder, gates.dtype, _BYTES)
        four = _quarters(context, builder, gates, gates_, at_gates_, units_)
        of_c = pointer_to(context, builder, c, c_, at_c_)
        of_old = pointer_to(context, builder, old, old_, at_old_)
        of_h = pointer_to(context, builder, h, h_, at_h_)
        with cgutils.for_range_slice(builder, v.index(0), units_, v.index(v.n)) as (k, _):
            i, f, o, g = (v.load(v.at(gate, 0, k)) for gate in four)
            i, f, o, g = v.sigmoid(i), v.sigmoid(f), v.sigmoid(o), v.tanh(g)
            for value, gate in zip((i, f, o, g), four, strict=True):
                v.store(value, v.at(gate, 0, k))
            before = v.load(v.at(of_c, 0, k))
            after = v.add(v.multiply(f, before), v.multiply(i, g))
            v.store(before, v.at(of_old, 0, k))
            v.store(after, v.at(of_c, 0, k))
            v.store(v.multiply(o, v.tanh(after)), v.at(of_h, 0, k))
        return context.get_dummy_value()

    size = types.intp
    return types.void(gates, size, c, size, old, size, h, size, size), generate


def _quarters(
    context: Any, builder: Any, array: Any, value: Any, start: Any, units: Any
) -> list[Any]:
    index = context.get_value_type(types.intp)
    return [
        pointer_to(context, builder, array, value, builder.add(start, builder.mul(index(k), units)))
        for k in range(4)
    ]


def _gradients(
    context: Any, builder: Any, arrays: Any, arguments: Any, formula: Callable[..., Any]
) -> Any:
    """Generate the loop over the units of a text that computes the gradients of its gates, and
    replaces the gradient that the layer keeps between the steps.

    Args:
        arrays: the types of gates, state before the step, gradient of h, kept gradient, and
            gradients of the gates.
        arguments: these arrays, each with its start, and the number of units.
        formula: returns the gradients of the gates and the kept gradient, from the gates, the state
            before the step, the gradient of h, and the kept gradient.
    """
    *places, units = arguments
    (gates, old, d_h, kept, d_gates), starts = places[::2], places[1::2]
    v = Vectors(context, builder, arrays[0].dtype, _BYTES)
    four = _quarters(context, builder, arrays[0], gates, starts[0], units)
    d_four = _quarters(context, builder, arrays[4], d_gates, starts[4], units)
    of_old, of_h, of_kept = (
        pointer_to(context, builder, array, value, start)
        for array, value, start in zip(arrays[1:4], (old, d_h, kept), starts[1:4], strict=True)
    )
    with cgutils.for_range_slice(builder, v.index(0), units, v.index(v.n)) as (k, _):
        loaded = [v.load(v.at(place, 0, k)) for place in (*four, of_old, of_h, of_kept)]
        of_gates, new = formula(v, loaded[:4], *loaded[4:])
        for value, gate in zip(of_gates, d_four, strict=True):
            v.store(value, v.at(gate, 0, k))
        v.store(new, v.at(of_kept, 0, k))
    return context.get_dummy_value()


@intrinsic  # type: ignore[untyped-decorator]
def lstm_gradient(
    typing: Any,
    gates: Any,
    at_gates: Any,
    old: Any,
    at_old: Any,
    d_h: Any,
    at_h: Any,
    d_c: Any,
    at_c: Any,
    d_gates: Any,
    at_d_gates: Any,
    units: Any,
) -> tuple[Any, Callable[..., Any]]:
    """From the gradients of a text's states, `d_h` and `d_c`, compute the gradients of its gates
    before their activation, and replace `d_c` by the gradient of the cell state before the step.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _gradients(context, builder, (gates, old, d_h, d_c, d_gates), arguments, formula)

    def formula(v: Vectors, four: Any, before: Any, slope: Any, of_c: Any) -> tuple[Any, Any]:
        (i, f, o, g), ones = four, v.constant(1)
        th = v.tanh(v.add(v.multiply(f, before), v.multiply(i, g)))
        through = v.multiply(slope, o, v.subtract(ones, v.multiply(th, th)))
        d = v.add(of_c, through)
        of_gates = (
            v.multiply(d, g, i, v.subtract(ones, i)),
            v.multiply(d, before, f, v.subtract(ones, f)),
            v.multiply(slope, th, o, v.subtract(ones, o)),
            v.multiply(d, i, v.subtract(ones, v.multiply(g, g))),
        )
        return of_gates, v.multiply(d, f)

    size = types.intp
    arrays = (gates, size, old, size, d_h, size, d_c, size, d_gates, size)
    return types.void(*arrays, size), generate


@intrinsic  # type: ignore[untyped-decorator]
def gru_cell(
    typing: Any,
    gates: Any,
    at_gates: Any,
    old: Any,
    at_old: Any,
    h: Any,
    at_h: Any,
    units: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Apply the activations to a text's gates update and reset; add the part of the state, times
    the reset gate, to the candidate, and apply its activation; copy the state `h` to `old`, and
    replace it by the state after the step.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        gates_, at_gates_, old_, at_old_, h_, at_h_, units_ = arguments
        v = Vectors(context, builder, gates.dtype, _BYTES)
        four = _quarters(context, builder, gates, gates_, at_gates_, units_)
        of_old = pointer_to(context, builder, old, old_, at_old_)
        of_h = pointer_to(context, builder, h, h_, at_h_)
        with cgutils.for_range_slice(builder, v.index(0), units_, v.index(v.n)) as (k, _):
            z, r, of_state, n = (v.load(v.at(gate, 0, k)) for gate in four)
            z, r = v.sigmoid(z), v.sigmoid(r)
            n = v.tanh(v.add(n, v.multiply(r, of_state)))
            for value, gate in zip((z, r, of_state, n), four, strict=True):
                v.store(value, v.at(gate, 0, k))
            before = v.load(v.at(of_h, 0, k))
            v.store(before, v.at(of_old, 0, k))
            v.store(v.add(n, v.multiply(z, v.subtract(before, n))), v.at(of_h, 0, k))
        return context.get_dummy_value()

    size = types.intp
    return types.void(gates, size, old, size, h, size, size), generate


@intrinsic  # type: ignore[untyped-decorator]
def gru_gradient(
    typing: Any,
    gates: Any,
    at_gates: Any,
    old: Any,
    at_old: Any,
    d_h: Any,
    at_h: Any,
    direct: Any,
    at_direct: Any,
    d_gates: Any,
    at_d_gates: Any,
    units: Any,
) -> tuple[Any, Callable[..., Any]]:
    """From the gradient `d_h` of a text's state, compute the gradients of its gates before their
    activation, and write to `direct` the gradient of the state before the step as far as it does
    not pass through the gates.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _gradients(context, builder, (gates, old, d_h, direct, d_gates), arguments, formula)

    def formula(v: Vectors, four: Any, before: Any, slope: Any, _: Any) -> tuple[Any, Any]:
        (z, r, of_state, n), ones = four, v.constant(1)
        kept = v.multiply(slope, z)
        of_n = v.multiply(v.subtract(slope, kept), v.subtract(ones, v.multiply(n, n)))
        of_gates = (
            v.multiply(kept, v.subtract(before, n), v.subtract(ones, z)),
            v.multiply(of_n, of_state, r, v.subtract(ones, r)),
            v.multiply(of_n, r),
            of_n,
        )
        return of_gates, kept

    size = types.intp
    arrays = (gates, size, old, size, d_h, size, direct, size, d_gates, size)
    return types.void(*arrays, size), generate
