"""The operations of the kernels in vector instructions of float32, written as LLVM's instructions
for Numba: a block of a matrix product (`tile`), and the gates and states of one text in one step of
an LSTM or a GRU, with their gradients (`lstm_cell`, `gru_cell`).

Numba's own vectorization does not keep a block of a matrix product in registers, and it compares
the addresses of all arrays before each loop, which takes as long as the few vectors of a small
layer. BLAS packs both matrices again in each call, and an LSTM multiplies by the same matrix in
each time step: `recurrent_sequence` packs the matrix once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils as numba_cgutils

# Numba publishes no types of these functions.
intrinsic: Any = extending.intrinsic
cgutils: Any = numba_cgutils

# AVX-512 has 32 registers of 64 bytes, other processors have 16 or more of at most 32 bytes.
IS_WIDE = llvmlite.binding.get_host_cpu_features().get("avx512f", False)
VECTOR = 16 if IS_WIDE else 8  # Number of float32 in a vector of 64 or 32 bytes.
# Number of rows of a block, each of two vectors, whose sums fit in the registers.
TILE_ROWS = 12 if IS_WIDE else 6
PANEL = 2 * VECTOR  # Number of columns of a block.
# Number of products that are summed before they are added to C. One sum over all rows would round
# each product to the digits of the whole sum.
SUM_ROWS = 64
# Size of the vectors of gates, to a multiple of which the number of units is padded.
LANES = 8
_FLAGS = ("contract", "nsz")  # A product and a sum may be one instruction.


def pointer_to(context: Any, builder: Any, array: Any, value: Any, start: Any) -> Any:
    """Return the pointer to element `start` of an array in memory order."""
    return builder.gep(context.make_array(array)(context, builder, value).data, [start])


class Vectors:
    """LLVM's instructions on vectors of n float32."""

    def __init__(self, context: Any, builder: Any, n: int) -> None:
        self.builder, self.n = builder, n
        self.type = ir.VectorType(ir.FloatType(), n)
        self.index = context.get_value_type(types.intp)

    def at(self, pointer: Any, start: int, index: Any = None) -> Any:
        """Return the pointer to the vector that begins `start + index` elements after a pointer."""
        offset = self.index(start) if index is None else self.builder.add(index, self.index(start))
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), self.type.as_pointer())

    def load(self, place: Any) -> Any:
        return self.builder.load(place, align=4)

    def store(self, value: Any, place: Any) -> None:
        self.builder.store(value, place, align=4)

    def store_each(self, values: Iterable[Any], places: Iterable[Any]) -> None:
        for value, place in zip(values, places, strict=True):
            self.store(value, place)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [value] * self.n)

    def spread(self, scalar: Any) -> Any:
        """Return a vector whose elements are all a scalar that LLVM has computed."""
        nothing = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(nothing, scalar, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.n), [0] * self.n)
        return self.builder.shuffle_vector(first, nothing, zeros)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=_FLAGS)

    def subtract(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b, flags=_FLAGS)

    def multiply(self, a: Any, *others: Any) -> Any:
        for b in others:
            a = self.builder.fmul(a, b, flags=_FLAGS)
        return a

    def polynomial(self, x: Any, *coefficients: float) -> Any:
        """Return the polynomial of x whose coefficients begin with the highest power."""
        value = self.constant(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.add(self.multiply(value, x), self.constant(coefficient))
        return value

    def tanh(self, x: Any) -> Any:
        """Return tanh(x) within 2e-7."""
        half = self._half_tanh(self.multiply(x, self.constant(0.5)))
        return self.multiply(half, self.constant(2))

    def sigmoid(self, x: Any) -> Any:
        """Return (1 + tanh(x / 2)) / 2."""
        half = self._half_tanh(self.multiply(x, self.constant(0.25)))
        return self.add(self.constant(0.5), half)

    def _half_tanh(self, y: Any) -> Any:
        """Return tanh(2 y) / 2 = p q / (p² + q²), where p / q is the seventh convergent of
        Lambert's continued fraction (1768) of tanh(y).

        For |2 y| > 9.2, tanh(2 y) rounds to ±1. Both comparisons are false for NaN, so
        that the result is NaN.
        """
        for sign, limit in ((">", 4.6), ("<", -4.6)):
            beyond = self.builder.fcmp_ordered(sign, y, self.constant(limit))
            y = self.builder.select(beyond, self.constant(limit), y)
        z = self.multiply(y, y)
        p = self.multiply(y, self.polynomial(z, 1, 378, 17325, 135135))
        q = self.polynomial(z, 28, 3150, 62370, 135135)
        squares = self.add(self.multiply(p, p), self.multiply(q, q))
        return self.builder.fdiv(self.multiply(p, q), squares, flags=_FLAGS)


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def tile(
    typing: Any,
    n_rows: Any,
    a: Any,
    at_a: Any,
    row_a: Any,
    step_a: Any,
    b: Any,
    at_b: Any,
    step_b: Any,
    c: Any,
    at_c: Any,
    row_c: Any,
    depth: Any,
    adds: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Write, or add if `adds`, the product of A (n_rows, depth) and B (depth, panel) to C.

    Element (r, k) of A is `a[at_a + r * row_a + k * step_a]`; row k of B begins at
    `b[at_b + k * step_b]`, and row r of C at `c[at_c + r * row_c]`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, a_, at_a_, row_a_, step_a_, b_, at_b_, step_b_, c_, at_c_, row_c_, depth_, adds_ = (
            arguments
        )
        v = Vectors(context, builder, VECTOR)
        rows, columns = range(n_rows.literal_value), (0, v.n)
        row_numbers = [v.index(r) for r in rows]
        of_a = [
            pointer_to(context, builder, a, a_, builder.add(at_a_, builder.mul(r, row_a_)))
            for r in row_numbers
        ]
        of_c = [
            pointer_to(context, builder, c, c_, builder.add(at_c_, builder.mul(r, row_c_)))
            for r in row_numbers
        ]
        of_b = pointer_to(context, builder, b, b_, at_b_)
        sums = [[cgutils.alloca_once(builder, v.type) for _ in columns] for _ in rows]
        part = builder.select(adds_, v.index(SUM_ROWS), depth_)
        with cgutils.for_range_slice(builder, v.index(0), depth_, part) as (first, _):
            for total in itertools.chain(*sums):
                builder.store(v.constant(0), total)
            rest = builder.sub(depth_, first)
            n_terms = builder.select(builder.icmp_signed("<", part, rest), part, rest)
            with cgutils.for_range(builder, n_terms) as loop:
                k = builder.add(first, loop.index)
                place_a, place_b = (builder.mul(k, step) for step in (step_a_, step_b_))
                factors = [v.load(v.at(of_b, column, place_b)) for column in columns]
                for r in rows:
                    element = v.spread(builder.load(builder.gep(of_a[r], [place_a])))
                    for factor, total in zip(factors, sums[r], strict=True):
                        value = v.add(builder.load(total), v.multiply(element, factor))
                        builder.store(value, total)
            with builder.if_then(adds_):
                for r in rows:
                    for column, total in zip(columns, sums[r], strict=True):
                        element = v.load(v.at(of_c[r], column))
                        builder.store(v.add(element, builder.load(total)), total)
            for r in rows:
                for column, total in zip(columns, sums[r], strict=True):
                    v.store(builder.load(total), v.at(of_c[r], column))
        return context.get_dummy_value()

    size = types.intp
    matrices = (a, size, size, size, b, size, size, c, size, size)
    return types.void(n_rows, *matrices, size, types.boolean), generate


def _over_units(
    arrays: tuple[Any, ...], body: Callable[..., None], *, of_gates: tuple[int, ...] = (0,)
) -> tuple[Any, Callable[..., Any]]:
    """Return the signature and the code of a loop over the units of a text, for the types of
    arrays. The arguments are these arrays, each with its start, and the number of units.

    `body` gets `Vectors` and the place of a vector in each array: four places, one for each gate,
    in the arrays with the numbers `of_gates`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *pairs, units = arguments
        v = Vectors(context, builder, LANES)
        pointers = [
            [
                pointer_to(context, builder, array, value, builder.add(start, offset))
                for offset in (builder.mul(v.index(k), units) for k in range(4))
            ]
            for array, value, start in zip(arrays, pairs[::2], pairs[1::2], strict=True)
        ]
        with cgutils.for_range_slice(builder, v.index(0), units, v.index(v.n)) as (k, _):
            places = [[v.at(pointer, 0, k) for pointer in four] for four in pointers]
            body(v, *(four if n in of_gates else four[0] for n, four in enumerate(places)))
        return context.get_dummy_value()

    size = types.intp
    pairs = itertools.chain.from_iterable((array, size) for array in arrays)
    return types.void(*pairs, size), generate


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

    def body(v: Vectors, four: list[Any], to_c: Any, to_old: Any, to_h: Any) -> None:
        i, f, o, g = map(v.load, four)
        i, f, o, g = v.sigmoid(i), v.sigmoid(f), v.sigmoid(o), v.tanh(g)
        v.store_each((i, f, o, g), four)
        before = v.load(to_c)
        after = v.add(v.multiply(f, before), v.multiply(i, g))
        v.store_each((before, after, v.multiply(o, v.tanh(after))), (to_old, to_c, to_h))

    return _over_units((gates, c, old, h), body)


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

    def body(
        v: Vectors, four: list[Any], of_old: Any, of_h: Any, of_c: Any, d_four: list[Any]
    ) -> None:
        (i, f, o, g), ones = map(v.load, four), v.constant(1)
        before, slope = v.load(of_old), v.load(of_h)
        th = v.tanh(v.add(v.multiply(f, before), v.multiply(i, g)))
        through = v.multiply(slope, o, v.subtract(ones, v.multiply(th, th)))
        d = v.add(v.load(of_c), through)
        of_gates = (
            v.multiply(d, g, i, v.subtract(ones, i)),
            v.multiply(d, before, f, v.subtract(ones, f)),
            v.multiply(slope, th, o, v.subtract(ones, o)),
            v.multiply(d, i, v.subtract(ones, v.multiply(g, g))),
        )
        v.store_each((*of_gates, v.multiply(d, f)), (*d_four, of_c))

    return _over_units((gates, old, d_h, d_c, d_gates), body, of_gates=(0, 4))


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

    def body(v: Vectors, four: list[Any], to_old: Any, to_h: Any) -> None:
        z, r, of_state, n = map(v.load, four)
        z, r = v.sigmoid(z), v.sigmoid(r)
        n = v.tanh(v.add(n, v.multiply(r, of_state)))
        v.store_each((z, r, of_state, n), four)
        before = v.load(to_h)
        after = v.add(n, v.multiply(z, v.subtract(before, n)))
        v.store_each((before, after), (to_old, to_h))

    return _over_units((gates, old, h), body)


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

    def body(
        v: Vectors, four: list[Any], of_old: Any, of_h: Any, to_direct: Any, d_four: list[Any]
    ) -> None:
        (z, r, of_state, n), ones = map(v.load, four), v.constant(1)
        before, slope = v.load(of_old), v.load(of_h)
        kept = v.multiply(slope, z)
        of_n = v.multiply(v.subtract(slope, kept), v.subtract(ones, v.multiply(n, n)))
        of_gates = (
            v.multiply(kept, v.subtract(before, n), v.subtract(ones, z)),
            v.multiply(of_n, of_state, r, v.subtract(ones, r)),
            v.multiply(of_n, r),
            of_n,
        )
        v.store_each((*of_gates, kept), (*d_four, to_direct))

    return _over_units((gates, old, d_h, direct, d_gates), body, of_gates=(0, 4))
