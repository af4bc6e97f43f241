"""A block of a matrix product, in vector instructions.

BLAS packs both matrices again in each call, and an LSTM multiplies by the same matrix in each time
step: `recurrent_sequence` packs the matrix once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from tuning.kernels.vectors import (
    IS_WIDE,
    VECTOR_BYTES,
    Vectors,
    cgutils,
    intrinsic,
    pointer_to,
)

# Number of rows of a block, each of two vectors, whose sums fit in the registers.
TILE_ROWS = 12 if IS_WIDE else 6
PANEL_BYTES = 2 * VECTOR_BYTES
# Number of products that are summed before they are added to C. One sum over all rows would round
# each product to the digits of the whole sum.
SUM_ROWS = 64


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
        v = Vectors(context, builder, a.dtype, VECTOR_BYTES)
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


@intrinsic  # type: ignore[untyped-decorator]
def itemsize(typing: Any, array: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the number of bytes of an element of an array."""
    size = array.dtype.bitwidth // 8
    return types.intp(array), lambda context, builder, signature, arguments: ir.Constant(
        context.get_value_type(types.intp), size
    )
