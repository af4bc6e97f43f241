"""Vector instructions for Numba, written as LLVM's instructions.

Numba's own vectorization does not keep a block of a matrix product in registers, and it compares
the addresses of all arrays before each loop, which takes as long as the few vectors of a small
layer. `tiles` and `cells` use these instructions.
"""

from __future__ import annotations

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
VECTOR_BYTES = 64 if IS_WIDE else 32
_FLAGS = ("contract", "nsz")  # A product and a sum may be one instruction.


def pointer_to(context: Any, builder: Any, array: Any, value: Any, start: Any) -> Any:
    """Return the pointer to element `start` of an array in memory order."""
    return builder.gep(context.make_array(array)(context, builder, value).data, [start])


class Vectors:
    """LLVM's instructions on vectors of `n_bytes`."""

    def __init__(self, context: Any, builder: Any, dtype: Any, n_bytes: int) -> None:
        self.builder, self.size = builder, dtype.bitwidth // 8
        self.n = n_bytes // self.size
        self.type = ir.VectorType(context.get_value_type(dtype), self.n)
        self.index = context.get_value_type(types.intp)

    def at(self, pointer: Any, start: int, index: Any = None) -> Any:
        """Return the pointer to the vector that begins `start + index` elements after a pointer."""
        offset = self.index(start) if index is None else self.builder.add(index, self.index(start))
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), self.type.as_pointer())

    def load(self, place: Any) -> Any:
        """Return the vector at a pointer that `at` returned."""
        return self.builder.load(place, align=self.size)

    def store(self, value: Any, place: Any) -> None:
        """Write a vector to a pointer that `at` returned."""
        self.builder.store(value, place, align=self.size)

    def constant(self, value: float) -> Any:
        """Return a vector whose elements are all `value`."""
        return ir.Constant(self.type, [value] * self.n)

    def spread(self, scalar: Any) -> Any:
        """Return a vector whose elements are all a scalar that LLVM has computed."""
        nothing = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(nothing, scalar, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.n), [0] * self.n)
        return self.builder.shuffle_vector(first, nothing, zeros)

    def add(self, a: Any, b: Any) -> Any:
        """Return a + b."""
        return self.builder.fadd(a, b, flags=_FLAGS)

    def subtract(self, a: Any, b: Any) -> Any:
        """Return a - b."""
        return self.builder.fsub(a, b, flags=_FLAGS)

    def multiply(self, a: Any, *others: Any) -> Any:
        """Return the product of two or more vectors."""
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
        """Return tanh(x): for float32 within 2e-7; for float64 the value of the C library."""
        if self.size == 8:
            return self._exact_tanh(x)
        return self.multiply(
            self._half_tanh(self.multiply(x, self.constant(0.5))), self.constant(2)
        )

    def sigmoid(self, x: Any) -> Any:
        """Return (1 + tanh(x / 2)) / 2."""
        half = self.constant(0.5)
        if self.size == 8:
            return self.add(half, self.multiply(half, self._exact_tanh(self.multiply(half, x))))
        return self.add(half, self._half_tanh(self.multiply(x, self.constant(0.25))))

    def _half_tanh(self, y: Any) -> Any:
        """Return tanh(2 y) / 2 = p q / (p² + q²), where p / q is the seventh convergent of
        Lambert's continued fraction (1768) of tanh(y).

        For |2 y| > 9.2, tanh(2 y) rounds to ±1 in float32. Both comparisons are false for NaN, so
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

    def _exact_tanh(self, x: Any) -> Any:
        double = ir.DoubleType()
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(double, [double]), "tanh"
        )
        for lane in map(ir.IntType(32), range(self.n)):
            value = self.builder.call(function, [self.builder.extract_element(x, lane)])
            x = self.builder.insert_element(x, value, lane)
        return x
