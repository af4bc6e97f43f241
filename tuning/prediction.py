"""What a model makes of texts: their view, class probabilities in large batches, and the time that a single review takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tuning.batching import Rows, View, evaluation_batches
from tuning.metrics import Array, class_probabilities
from tuning.spaces import run_user_code
from tuning.vocabulary import TokenizedTexts

N_CALLS, N_WARM_UP_CALLS = 30, 3  # of a single review: 0.3 s at 10 ms

# Layers whose result for right-padded masked texts does not depend on how much padding there is.
_PADDING_PROOF = (
    keras.layers.InputLayer,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.LSTM,
    keras.layers.GRU,
    keras.layers.Bidirectional,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.Dense,
    keras.layers.Activation,
)


def make_view(model: keras.Model, values: Mapping[str, Any], texts: TokenizedTexts) -> View:
    """Texts as this configuration and model see them."""
    return View(
        texts,
        vocab_size=int(values["vocab_size"]),
        sequence_length=int(values["sequence_length"]),
        truncating=str(values.get("truncating", "pre")),
        trims=ignores_padding(model),
    )


def ignores_padding(model: keras.Model) -> bool:
    """Whether more or less padding after a text changes nothing: it is masked, and only layers that honour the mask follow."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.Embedding)]
    embeddings = [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)]
    open_length = all(tensor.shape[1] is None for tensor in getattr(model, "inputs", None) or [])
    return (
        open_length
        and len(embeddings) == 1
        and embeddings[0].mask_zero
        and all(type(layer) in _PADDING_PROOF for layer in layers)
        and all(_rnn_is_open(layer) for layer in layers)
    )


def _rnn_is_open(layer: keras.layers.Layer) -> bool:
    """Recurrent layers that carry a state from batch to batch, or are unrolled, need a fixed length."""
    inner = layer.forward_layer if isinstance(layer, keras.layers.Bidirectional) else layer
    return not getattr(inner, "stateful", False) and not getattr(inner, "unroll", False)


def dataset(batches: Callable[[], Iterator[Rows]], view: View, labels: Any, *, n_batches: int) -> tf.data.Dataset:
    """Batches as a `tf.data.Dataset` of (ids, labels), or ids alone; any width, so that one trace serves all."""

    def generate() -> Iterator[Any]:
        for rows in batches():
            yield view.batch(rows) if labels is None else (view.batch(rows), labels[rows])

    ids = tf.TensorSpec((None, None if view.trims else view.sequence_length), tf.int32)
    signature = ids if labels is None else (ids, tf.TensorSpec((None,), tf.int64))
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2)


def predict(model: keras.Model, view: View, *, n_classes: int) -> Array:
    """Class probabilities of every text of a view, float64 array (n_texts, n_classes), computed in large batches.

    Raises:
        SpaceBug: the model's output is no probability.
    """
    batches = evaluation_batches(view)
    if not batches:
        return np.empty((0, n_classes))
    data = dataset(lambda: iter(batches), view, None, n_batches=len(batches))
    steps, model.steps_per_execution = model.steps_per_execution, 1  # else as many copies of it in Keras' graph
    try:
        outputs = np.asarray(model.predict(data, verbose=0))
    finally:
        model.steps_per_execution = steps
    probabilities = run_user_code(lambda: class_probabilities(outputs, n_classes=n_classes), doing="reading the model's output")
    ordered = np.empty_like(probabilities)
    ordered[np.concatenate(batches)] = probabilities
    return ordered


def latency_ms(model: keras.Model, *, sequence_length: int) -> float:
    """Milliseconds that a compiled model takes for a single text of full length: the median of 30 calls, on this process's threads.

    The texts are tokenised before; what a server adds is not in it.
    """
    call = tf.function(lambda ids: model(ids, training=False), input_signature=[tf.TensorSpec((1, sequence_length), tf.int32)])
    ids = tf.ones((1, sequence_length), tf.int32)
    seconds = []
    for _ in range(N_WARM_UP_CALLS + N_CALLS):
        started = time.perf_counter()
        np.asarray(call(ids))
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[N_WARM_UP_CALLS:])
