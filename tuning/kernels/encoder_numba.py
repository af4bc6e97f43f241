"""The operations between the matrix products of a transformer layer, and their gradients, compiled
by Numba: attention weights, the activation, and dropout with the normalization after it.

TensorFlow computes each as 5 to 20 operations over all elements, most of them in bfloat16, which
its builds for all processors compute one element at a time. Here each is one pass. Matrices that
a product reads or writes are bfloat16, given as the uint16 of their bits; sums and all other
numbers are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types

# The settings of `compiling`, and `reassoc`, which lets LLVM add the elements of a row in vectors.
_FAST = {"contract", "nsz", "reassoc"}
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
inlined = njit(error_model="numpy", fastmath=_FAST, inline="always")

_LOG2_E = np.float32(1.4426950408889634)
# Taylor's series of 2^f, within 2e-7 for -0.5 <= f <= 0.5.
_POWERS = tuple(np.float32(np.log(2.0) ** n / np.prod(np.arange(1.0, n + 1))) for n in range(7))
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = _POWERS
# GELU keeps the share P(X <= v) of v, where X is normal (Hendrycks and Gimpel 2016). By tanh, this
# share is the logistic function of v and its cube times these factors.
_GELU_1 = np.float32(2 * np.sqrt(2 / np.pi))
_GELU_3 = np.float32(2 * np.sqrt(2 / np.pi) * 0.044715)
# The exact share by the error function, within 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
_ERF_P, _ERF_1, _ERF_2, _ERF_3, _ERF_4, _ERF_5 = np.array(
    [0.3275911, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429], np.float32
)
_HALF_ROOT, _DENSITY = np.float32(np.sqrt(0.5)), np.float32(1 / np.sqrt(2 * np.pi))
_ZERO, _HALF, _ONE, _THREE = (np.float32(value) for value in (0, 0.5, 1, 3))
_LEAST = np.float32(-87)  # exp(x) of a smaller x is taken as that of -87, 1.6e-38.
_MOST = np.float32(88)


def _bits_as(made: Any, llvm: Any) -> Any:
    """Return the function of Numba that reads the bits of a 32-bit number as another type."""

    def read(typing: Any, value: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], llvm)

        return made(value), generate

    return extending.intrinsic(read)


_as_float: Any = _bits_as(types.float32, ir.FloatType())
_as_bits: Any = _bits_as(types.uint32, ir.IntType(32))


@inlined
def _value(bits: Any) -> Any:
    """Return the number whose bits as bfloat16 are given."""
    return _as_float(np.uint32(np.uint32(bits) << np.uint32(16)))


@inlined
def _rounded(value: Any) -> Any:
    """Return the bits of a number rounded to bfloat16, half to even."""
    bits = _as_bits(value)
    up = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
    rounded = np.uint16(np.uint32(bits + up + np.uint32(0x7FFF)) >> np.uint32(16))
    return rounded if value == value else np.uint16(0x7FC0)  # noqa: PLR0124 - NaN


@inlined
def _exp(x: Any) -> Any:
    x = x * _LOG2_E
    whole = np.floor(x + _HALF)
    f = x - whole
    power = _P0 + f * (_P1 + f * (_P2 + f * (_P3 + f * (_P4 + f * (_P5 + f * _P6)))))
    exponent = np.int32(np.int32(whole) + np.int32(127))
    return power * _as_float(np.uint32(np.uint32(exponent) << np.uint32(23)))


@inlined
def _limited(x: Any) -> Any:
    # Both comparisons are false for NaN, so that the result is NaN.
    x = _LEAST if x < _LEAST else x
    return _MOST if x > _MOST else x


@inlined
def _share_and_slope(v: Any, is_exact: bool) -> tuple[Any, Any]:
    """Return the share of v that GELU keeps, and v times the derivative of this share."""
    if is_exact:
        z = np.abs(v) * _HALF_ROOT
        t = _ONE / (_ONE + _ERF_P * z)
        power = _exp(_limited(-z * z))
        rest = t * (_ERF_1 + t * (_ERF_2 + t * (_ERF_3 + t * (_ERF_4 + t * _ERF_5)))) * power
        below = _HALF * rest
        return (_ONE - below if v > _ZERO else below), v * _DENSITY * power
    square = v * v
    share = _ONE / (_ONE + _exp(_limited(-v * (_GELU_1 + _GELU_3 * square))))
    return share, v * share * (_ONE - share) * (_GELU_1 + _THREE * _GELU_3 * square)


@compiled
def gelu(start: int, end: int, x: Any, bias: Any, is_exact: bool, outputs: Any) -> None:
    """Write GELU of the rows `start` to `end` of x + bias, exact or by tanh, to the outputs."""
    for row in range(start, end):
        for k in range(x.shape[1]):
            v = _value(x[row, k]) + bias[k]
            outputs[row, k] = _rounded(v * _share_and_slope(v, is_exact)[0])


@compiled
def gelu_gradient(
    start: int,
    end: int,
    upstream: Any,
    x: Any,
    bias: Any,
    is_exact: bool,
    d_x: Any,
    d_bias: Any,
) -> None:
    """Write the gradient of x, and add that of the bias to `d_bias` (n_columns,)."""
    for row in range(start, end):
        for k in range(x.shape[1]):
            share, slope = _share_and_slope(_value(x[row, k]) + bias[k], is_exact)
            gradient = _value(upstream[row, k]) * (share + slope)
            d_x[row, k] = _rounded(gradient)
            d_bias[k] += gradient


@compiled
def heads(start: int, end: int, x: Any, bias: Any, outputs: Any) -> None:
    """Write x + bias of the texts `start` to `end`, (n_texts, length, 3, n_heads, columns), to the
    outputs (3, n_texts, n_heads, length, columns): queries, keys and values.
    """
    _, length, n_parts, n_heads, n_columns = x.shape
    for text in range(start, end):
        for part in range(n_parts):
            for head in range(n_heads):
                for token in range(length):
                    for k in range(n_columns):
                        value = _value(x[text, token, part, head, k]) + bias[part, head, k]
                        outputs[part, text, head, token, k] = _rounded(value)


@compiled
def heads_gradient(start: int, end: int, upstream: Any, d_x: Any, d_bias: Any) -> None:
    """Write the gradient of x, and add that of the bias to `d_bias` (3, n_heads, columns)."""
    _, length, n_parts, n_heads, n_columns = d_x.shape
    for text in range(start, end):
        for part in range(n_parts):
            for head in range(n_heads):
                for token in range(length):
                    for k in range(n_columns):
                        bits = upstream[part, text, head, token, k]
                        d_x[text, token, part, head, k] = bits
                        d_bias[part, head, k] += _value(bits)


@compiled
def attention(
    start: int,
    end: int,
    scores: Any,
    is_token: Any,
    uniform: Any,
    scale: Any,
    rate: Any,
    weights: Any,
    dropped: Any,
) -> None:
    """Write the attention weights of the texts `start` to `end`, and these weights after dropout.

    Scores, weights and `dropped` are (n_texts, n_heads, length, length); a score is multiplied by
    `scale`. `is_token` is (n_texts, length), and `uniform`, a random number for each weight, is
    empty without dropout. A text without tokens has no weights, and equal ones without dropout, as
    in Keras.
    """
    _, n_heads, length, _ = scores.shape
    row, scaled = np.empty(length, np.float32), _ONE / (_ONE - rate)
    for text in range(start, end):
        for head in range(n_heads):
            for token in range(length):
                largest = np.float32(-np.inf)
                for k in range(length):
                    row[k] = _value(scores[text, head, token, k]) * scale
                for k in range(length):
                    if is_token[text, k] and row[k] > largest:
                        largest = row[k]
                total = _ZERO
                for k in range(length):
                    e = _exp(_limited(row[k] - largest))
                    row[k] = e if is_token[text, k] else _ZERO
                    total += row[k]
                if total == _ZERO:
                    total = np.float32(length)
                    for k in range(length):
                        row[k] = _ZERO if uniform.size else _ONE
                factor = _ONE / total
                for k in range(length):
                    row[k] *= factor
                    weights[text, head, token, k] = _rounded(row[k])
                if uniform.size:
                    for k in range(length):
                        keeps = uniform[text, head, token, k] >= rate
                        value = row[k] * scaled if keeps else _ZERO
                        dropped[text, head, token, k] = _rounded(value)


@compiled
def attention_gradient(
    start: int,
    end: int,
    upstream: Any,
    weights: Any,
    is_token: Any,
    uniform: Any,
    scale: Any,
    rate: Any,
    d_scores: Any,
) -> None:
    """Write the gradient of the scores of the texts `start` to `end`."""
    _, n_heads, length, _ = weights.shape
    row, scaled = np.empty(length, np.float32), _ONE / (_ONE - rate)
    for text in range(start, end):
        for head in range(n_heads):
            for token in range(length):
                if uniform.size:
                    for k in range(length):
                        keeps = uniform[text, head, token, k] >= rate
                        value = _value(upstream[text, head, token, k]) * scaled
                        row[k] = value if keeps else _ZERO
                else:
                    for k in range(length):
                        row[k] = _value(upstream[text, head, token, k])
                # The sum of the rounded weights is not 1. Without the division, the gradients would
                # not add to 0, and those of a weight near 1 would be an error alone.
                total, sum_of_weights = _ZERO, _ZERO
                for k in range(length):
                    weight = _value(weights[text, head, token, k])
                    total += row[k] * weight
                    sum_of_weights += weight
                mean = total / sum_of_weights if sum_of_weights > _ZERO else _ZERO
                for k in range(length):
                    weight = _value(weights[text, head, token, k])
                    gradient = weight * (row[k] - mean) * scale if is_token[text, k] else _ZERO
                    d_scores[text, head, token, k] = _rounded(gradient)


@compiled
def normalization(
    start: int,
    end: int,
    x: Any,
    bias: Any,
    residual: Any,
    uniform: Any,
    rate: Any,
    epsilon: Any,
    gamma: Any,
    beta: Any,
    normalized: Any,
    inverse: Any,
    outputs: Any,
    rounded: Any,
) -> None:
    """Write LayerNormalization of `residual` + dropout of (x + bias) to the outputs, and rounded to
    bfloat16 to `rounded`, for the rows `start` to `end`. The gradient needs `normalized`, the
    outputs without gamma and beta, and `inverse` (n_rows,), the inverse of the deviations.
    """
    n_columns, scaled = x.shape[1], _ONE / (_ONE - rate)
    for row in range(start, end):
        total = _ZERO
        for k in range(n_columns):
            value = _value(x[row, k]) + bias[k]
            normalized[row, k] = value
        if uniform.size:
            for k in range(n_columns):
                value = normalized[row, k] * scaled
                normalized[row, k] = value if uniform[row, k] >= rate else _ZERO
        for k in range(n_columns):
            normalized[row, k] += residual[row, k]
            total += normalized[row, k]
        mean = total / np.float32(n_columns)
        total = _ZERO
        for k in range(n_columns):
            normalized[row, k] -= mean
            total += normalized[row, k] * normalized[row, k]
        inverse[row] = _ONE / np.sqrt(total / np.float32(n_columns) + epsilon)
        for k in range(n_columns):
            normalized[row, k] *= inverse[row]
            value = normalized[row, k] * gamma[k] + beta[k]
            outputs[row, k] = value
            rounded[row, k] = _rounded(value)


@compiled
def normalization_gradient(
    start: int,
    end: int,
    d_outputs: Any,
    d_rounded: Any,
    normalized: Any,
    inverse: Any,
    uniform: Any,
    rate: Any,
    gamma: Any,
    d_x: Any,
    d_residual: Any,
    sums: Any,
) -> None:
    """Write the gradients of x and of the residual, and add those of bias, gamma and beta to
    `sums` (3, n_columns).
    """
    n_columns, scaled = normalized.shape[1], _ONE / (_ONE - rate)
    size = np.float32(n_columns)
    for row in range(start, end):
        first, second = _ZERO, _ZERO
        for k in range(n_columns):
            gradient = d_outputs[row, k] + _value(d_rounded[row, k])
            sums[1, k] += gradient * normalized[row, k]
            sums[2, k] += gradient
            gradient *= gamma[k]
            d_residual[row, k] = gradient
            first += gradient
            second += gradient * normalized[row, k]
        first, second = first / size, second / size
        for k in range(n_columns):
            value = d_residual[row, k] - first - normalized[row, k] * second
            d_residual[row, k] = value * inverse[row]
        if uniform.size:
            for k in range(n_columns):
                value = d_residual[row, k] * scaled
                value = value if uniform[row, k] >= rate else _ZERO
                sums[0, k] += value
                d_x[row, k] = _rounded(value)
        else:
            for k in range(n_columns):
                sums[0, k] += d_residual[row, k]
                d_x[row, k] = _rounded(d_residual[row, k])
