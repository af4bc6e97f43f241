"""Training without the padding: the texts of a batch become one long text.

In a graph whose output does not depend on the padding (`check.is_ignored`), an operation computes
each word by itself, or is a convolution, or reduces over the words of a text. So the texts of a
batch are joined to one row, with so many zeros between them that no convolution reads two texts.
Keras' own layers compute this row like a batch of one text. Only the operations that reduce over a
text are replaced, by the same operations over segments of the row.

A graph with a recurrent layer is not packed: a recurrent layer would take the words of all texts
one after the other. Its kernel skips the padding (`kernels.recurrent_numba`). Nor is a graph with a
`SpatialDropout1D`, which drops the same columns of all words of a text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras.src.models.functional import Functional, operation_fn, unpack_singleton
from keras.src.ops import numpy

from tuning.padding.check import RECURRENT, nodes_of

# The length of a row is rounded up, to one of so many lengths between two powers of two, because
# oneDNN compiles code for each length.
LENGTHS_PER_OCTAVE = 8
# A graph is packed if the mean text with its gap is at most this part of the longest text.
WORTHWHILE = 0.8


@contextlib.contextmanager
def packed(graph: Functional, input_number: int, lengths: npt.NDArray[np.int64]) -> Iterator[bool]:
    """Train a graph without the padding inside this context, whose value is whether the graph is
    packed. The output of the graph must not depend on the padding.

    `input_number` is which of its inputs is the token ids (batch, length), 0 after each text; its
    other inputs are not packed. `lengths` are the numbers of tokens of the training texts. XLA must
    not compile the training, because XLA has no sums of segments.
    """
    gap = max([1, *map(_reach, graph.layers)])
    if not _is_packable(graph) or lengths.mean() + gap > WORTHWHILE * lengths.max():
        yield False
        return
    own_call = graph.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None, **options: Any) -> Any:
        # A graph of several inputs gets a mask for each, or None.
        is_masked = any(part is not None for part in keras.tree.flatten(mask))
        if not training or is_masked or options:
            return own_call(inputs, training=training, mask=mask, **options)
        return _run_packed(graph, graph._standardize_inputs(inputs), input_number, gap)

    # Keras calls `graph.call`. An attribute of the object hides the method of its class until the
    # attribute is deleted.
    graph.call = call
    try:
        yield True
    finally:
        del graph.call


def _is_packable(graph: Functional) -> bool:
    layers = [layer for layer in graph.layers if not isinstance(layer, keras.layers.InputLayer)]
    # These layers treat a row as one text.
    whole = (*RECURRENT, keras.layers.Bidirectional, keras.layers.SpatialDropout1D)
    return (
        not tf.config.list_physical_devices("GPU")
        # TensorFlow's sums of segments are not precise enough in float16.
        and {layer.compute_dtype for layer in layers} in ({"float32"}, {"float64"})
        and not any(isinstance(layer, whole) for layer in layers)
    )


class Segments(NamedTuple):
    """The texts in a row.

    `numbers` is int32 (length of the row,), the number of each column's text, ascending. The
    columns after the last text have the number `n_texts`.
    """

    numbers: tf.Tensor
    n_texts: tf.Tensor


def join(ids: tf.Tensor, gap: int) -> tuple[tf.Tensor, Segments]:
    """Return the texts of a batch, ids (batch, length) with 0 after each text, as one row with
    `gap` zeros, at least 1, after each text.

    The row (1, length of the row) ends with more zeros up to a rounded length.
    """
    ids = tf.pad(ids, [[0, 0], [0, gap]])
    n_texts, length = tf.unstack(tf.shape(ids))
    ends = tf.range(1, length + 1)
    n_words = tf.reduce_max(tf.where(ids != 0, ends, 0), axis=1)
    is_kept = ends <= n_words[:, None] + gap
    numbers = tf.cast(tf.where(is_kept)[:, 0], tf.int32)
    n_more = _rounded(tf.size(numbers)) - tf.size(numbers)
    row = tf.pad(tf.boolean_mask(ids, is_kept), [[0, n_more]])
    return row[None], Segments(tf.pad(numbers, [[0, n_more]], constant_values=n_texts), n_texts)


def _rounded(n: tf.Tensor) -> tf.Tensor:
    powers = 2 ** tf.range(31)
    step = tf.reduce_max(tf.where(powers <= n, powers, 1)) // LENGTHS_PER_OCTAVE
    step = tf.maximum(step, 1)
    return -(-n // step) * step


def _run_packed(graph: Functional, inputs: list[tf.Tensor], input_number: int, gap: int) -> Any:
    row, segments = join(inputs[input_number], gap)
    inputs[input_number] = row
    values = dict(zip(map(id, graph.inputs), inputs, strict=True))
    rows = {id(graph.inputs[input_number])}
    for node in nodes_of(graph):
        arguments, options = node.arguments.fill_in(values)
        run = operation_fn(node.operation, training=True)
        is_row = any(id(tensor) in rows for tensor in node.input_tensors)
        of_segments = REDUCTIONS.get(type(node.operation)) if is_row else None
        if of_segments is None:
            outputs = run(*arguments, **options)
            rows |= set(map(id, node.outputs)) if is_row else set()
        else:
            outputs = of_segments(node.operation, segments, *arguments, **options)
        values |= zip(map(id, node.outputs), keras.tree.flatten(outputs), strict=True)
    outputs = [values[id(output)] for output in graph.outputs]
    return unpack_singleton(keras.tree.pack_sequence_as(graph._outputs_struct, outputs))


def _reach(layer: keras.layers.Layer) -> int:
    """Return how many columns away from its own a layer reads at most, on either side."""
    if not isinstance(layer, keras.layers.Conv1D):
        return 0
    span = int((layer.kernel_size[0] - 1) * layer.dilation_rate[0])
    return span if layer.padding == "causal" else span - span // 2


def _sum(operation: Any, segments: Segments, row: tf.Tensor) -> tf.Tensor:
    return _by_text(tf.math.segment_sum, row, segments, keeps=operation.keepdims)


def _maximum(operation: Any, segments: Segments, row: tf.Tensor) -> tf.Tensor:
    values = _by_text(tf.math.segment_max, row, segments, keeps=operation.keepdims)
    if operation.initial is not None:
        values = tf.maximum(values, tf.cast(operation.initial, values.dtype))
    return tf.cast(values, row.dtype)


def _average(layer: Any, segments: Segments, row: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    is_word = tf.cast(mask, tf.bool)[:, :, None]
    total, n_words = (
        _by_text(tf.math.segment_sum, part, segments, keeps=layer.keepdims)
        for part in (tf.where(is_word, row, 0.0), tf.cast(is_word, row.dtype))
    )
    return total / n_words  # A text without words gives NaN, as in Keras.


def _by_text(
    reduce: Callable[..., tf.Tensor], row: tf.Tensor, segments: Segments, *, keeps: bool
) -> tf.Tensor:
    """Return a reduction of the columns of each text, (batch, …), or (batch, 1, …) if it keeps the
    axis.
    """
    # TensorFlow has no sums and maxima of segments for bool.
    row = tf.cast(row, tf.int32) if row.dtype == tf.bool else row
    values = reduce(row[0], segments.numbers)[: segments.n_texts]
    values = tf.ensure_shape(values, [None, *row.shape[2:]])
    return values[:, None] if keeps else values


REDUCTIONS: dict[type, Callable[..., tf.Tensor]] = {
    numpy.Sum: _sum,
    numpy.Max: _maximum,
    keras.layers.GlobalAveragePooling1D: _average,
}
