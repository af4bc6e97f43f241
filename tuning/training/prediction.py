"""Predictions of a model: the view of the texts, class probabilities in large batches, and the
latency of a single review.
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

# Numbers of calls that measure the latency of a single review. They take 0.3 s at 10 ms a call.
N_CALLS, N_WARM_UP_CALLS = 30, 3


def make_view(model: keras.Model, values: Mapping[str, Any], texts: TokenizedTexts) -> View:
    """Return texts as a model with this configuration takes them. Batches are padded to their
    longest text if the model ignores padding.
    """
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
    """Return batches as a `tf.data.Dataset` of (ids, labels), or of ids if `labels` is None.

    The ids of a view that trims have a variable width, and Keras therefore traces a step only once.

    Args:
        batches: returns the rows of each batch; is called at the start of every epoch.
        view: the texts.
        labels: the labels as the loss takes them, with one row for each text.
        n_batches: number of batches in an epoch.
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
    """Return the class probabilities of every text, float64 array of shape (n_texts, n_classes).

    Raises:
        SpaceBug: the model's output is not one of class probabilities.
    """
    batches = evaluation_batches(view)
    if not batches:
        return np.empty((0, n_classes))
    data = dataset(lambda: iter(batches), view, None, n_batches=len(batches))
    # With more steps, Keras' graph would contain as many copies of the model.
    steps, model.steps_per_execution = model.steps_per_execution, 1
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
    """Return the latency of a single text of `sequence_length` tokens in milliseconds.

    The latency is the median of `N_CALLS` calls of the traced model on the threads of this process.

    The latency includes neither the tokenization nor the work of a server.
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
