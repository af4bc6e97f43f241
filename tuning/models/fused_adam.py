"""Adam in one pass over each variable, in the place of Keras' twelve, and an embedding's gradient summed by a sparse product."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf


def fuse(model: keras.Model) -> bool:
    """Let a model's Adam or AdamW update each variable in one kernel, on a CPU; returns whether it does, for `unfuse`."""
    optimizer = model.optimizer
    fits = type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW) and not optimizer.amsgrad
    if fits and not tf.config.list_physical_devices("GPU"):
        optimizer.update_step = partial(_update_step, optimizer)
        return True
    return False


def unfuse(model: keras.Model) -> None:
    """Give the optimizer its own step back."""
    del model.optimizer.update_step


def _update_step(optimizer: keras.optimizers.Adam, gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
    """What `keras.optimizers.Adam.update_step` does (Kingma and Ba, 2014, with the bias corrections in the learning rate)."""
    dtype = variable.dtype
    step = tf.cast(optimizer.iterations + 1, dtype)
    beta_1, beta_2 = tf.cast(optimizer.beta_1, dtype), tf.cast(optimizer.beta_2, dtype)
    index = optimizer._get_variable_index(variable)
    momentum, velocity = optimizer._momentums[index].value, optimizer._velocities[index].value
    if isinstance(gradient, tf.IndexedSlices):
        gradient, rows, excess = tf.numpy_function(
            partial(_sum_rows, n_rows=int(variable.shape[0])), [gradient.indices, gradient.values], [dtype, tf.int64, dtype]
        )
        gradient = tf.ensure_shape(gradient, variable.shape)
        # The kernel is about to add (1 - beta_2) gradient²; Keras adds the sum of the squares of a row's occurrences.
        tf.raw_ops.ResourceScatterAdd(resource=velocity.handle, indices=rows, updates=excess * ((1 - beta_2) / beta_2))
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum.handle,
        v=velocity.handle,
        beta1_power=tf.pow(beta_1, step),
        beta2_power=tf.pow(beta_2, step),
        lr=tf.cast(learning_rate, dtype),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.cast(optimizer.epsilon, dtype),
        grad=gradient,
    )


def _sum_rows(rows: Any, values: Any, *, n_rows: int) -> tuple[Any, Any, Any]:
    """The gradient of a table (n_rows, width) from that of each occurrence of a row; the rows that occur; and, for those, how much
    the sum of the squares of the occurrences exceeds the square of their sum.
    """
    present, place = np.unique(rows, return_inverse=True)
    ones, ends = np.ones(len(rows), values.dtype), np.arange(len(rows) + 1)
    occurrences = scipy.sparse.csc_array((ones, place, ends), shape=(len(present), len(rows)))
    sums = occurrences @ values
    table = np.zeros((n_rows, values.shape[1]), values.dtype)
    table[present] = sums
    return table, present.astype(np.int64), occurrences @ np.square(values) - np.square(sums)
