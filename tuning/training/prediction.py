"""What a model makes of texts: their view, class probabilities in large batches, and the time that
a single review takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tuning.data.corpus import TokenizedTexts
from tuning.evaluation.metrics import Array, Labels, class_probabilities
from tuning.spaces.loading import run_user_code
from tuning.training.architecture import ignores_padding
from tuning.training.batching import Rows, View, evaluation_batches

N_CALLS, N_WARM_UP_CALLS = 30, 3  # of a single review: 0.3 s at 10 ms


def make_view(model: keras.Model, values: Mapping[str, Any], texts: TokenizedTexts) -> View:
    """Texts as this configuration and model see them."""
    return View(
        texts,
        vocab_size=int(values["vocab_size"]),
        sequence_length=int(values["sequence_length"]),
        truncating=str(values.get("truncating", "pre")),
        trims=ignores_padding(model),
    )


def dataset(
    batches: Callable[[], Iterator[Rows]],
    view: View,
    labels: Array | Labels | None,
    *,
    n_batches: int,
) -> tf.data.Dataset:
    """Batches as a `tf.data.Dataset` of (ids, labels), or ids alone; any width, so that one trace
    serves all.

    `labels`: one row a text, as the loss takes them.
    """

    def generate() -> Iterator[Any]:
        for rows in batches():
            yield view.batch(rows) if labels is None else (view.batch(rows), labels[rows])

    ids = tf.TensorSpec((None, None if view.trims else view.sequence_length), tf.int32)
    signature = (
        ids if labels is None else (ids, tf.TensorSpec((None, *labels.shape[1:]), labels.dtype))
    )
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2)


def predict(model: keras.Model, view: View, *, n_classes: int) -> Array:
    """Class probabilities of every text of a view, float64 array (n_texts, n_classes), computed in
    large batches.

    Raises:
        SpaceBug: the model's output is no probability.
    """
    batches = evaluation_batches(view)
    if not batches:
        return np.empty((0, n_classes))
    data = dataset(lambda: iter(batches), view, None, n_batches=len(batches))
    steps, model.steps_per_execution = (
        model.steps_per_execution,
        1,
    )  # else as many copies of it in Keras' graph
    try:
        outputs = np.asarray(model.predict(data, verbose=0))
    finally:
        model.steps_per_execution = steps
    probabilities = run_user_code(
        lambda: class_probabilities(outputs, n_classes=n_classes),
        doing="reading the model's output",
    )
    ordered = np.empty_like(probabilities)
    ordered[np.concatenate(batches)] = probabilities
    return ordered


def latency_ms(model: keras.Model, *, sequence_length: int) -> float:
    """Milliseconds that a compiled model takes for a single text of full length: the median of 30
    calls, on this process's threads.

    The texts are tokenised before; what a server adds is not in it.
    """
    call = tf.function(
        lambda ids: model(ids, training=False),
        input_signature=[tf.TensorSpec((1, sequence_length), tf.int32)],
    )
    ids = tf.ones((1, sequence_length), tf.int32)
    seconds = []
    for _ in range(N_WARM_UP_CALLS + N_CALLS):
        started = time.perf_counter()
        np.asarray(call(ids))
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[N_WARM_UP_CALLS:])
