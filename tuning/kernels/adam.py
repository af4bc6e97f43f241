"""Adam in one pass over each variable, where Keras makes twelve; the gradient of an embedding is
summed row by row.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tuning.kernels.compiling import Array, Memory, compiled


def fuse(model: keras.Model) -> None:
    """Replace the update step of a model's optimizer by the kernel, if it is Adam or AdamW without
    `amsgrad`, on a CPU, without XLA.
    """
    optimizer = model.optimizer
    # Compared by `type`, because a subclass may have another formula, as may a step that was set on
    # the optimizer itself.
    fits = (
        type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW)
        and not optimizer.amsgrad
        and "update_step" not in vars(optimizer)
    )
    if fits and model.jit_compile is not True and not tf.config.list_physical_devices("GPU"):
        optimizer.update_step = partial(_update_step, optimizer)


def unfuse(model: keras.Model) -> None:
    # The fit() of a hypermodel may have compiled the model again, with another optimizer.
    step = vars(model.optimizer).get("update_step")
    if getattr(step, "func", None) is _update_step:
        del model.optimizer.update_step


def _update_step(
    optimizer: keras.optimizers.Adam, gradient: Any, variable: tf.Variable, learning_rate: Any
) -> None:
    """Do the step of `keras.optimizers.Adam.update_step` in one operation (Kingma and Ba, 2014,
    with the bias corrections in the learning rate).
    """
    dtype = variable.dtype
    if dtype not in (tf.float32, tf.float64):  # Numba has no half precision.
        type(optimizer).update_step(optimizer, gradient, variable, learning_rate)
        return
    gradient = tf.cast(gradient, dtype)  # The user's own training step may give another precision.
    step = tf.cast(optimizer.iterations + 1, dtype)
    beta_1, beta_2 = tf.cast(optimizer.beta_1, dtype), tf.cast(optimizer.beta_2, dtype)
    index = optimizer._get_variable_index(variable)
    momentum, velocity = optimizer._momentums[index].value, optimizer._velocities[index].value
    powers = tf.pow(beta_1, step), tf.pow(beta_2, step)
    if isinstance(gradient, tf.IndexedSlices):
        rate = tf.cast(learning_rate, dtype) * tf.sqrt(1 - powers[1]) / (1 - powers[0])
        numbers = tf.stack([rate, beta_1, beta_2, tf.cast(optimizer.epsilon, dtype)])
        table = _Table(tuple(variable.shape), dtype.as_numpy_dtype)
        new = tf.numpy_function(
            table.update,
            [
                gradient.indices,
                gradient.values,
                variable.value(),
                momentum.value(),
                velocity.value(),
                numbers,
            ],
            [dtype] * 3,
        )
        for old, value in zip((variable, momentum, velocity), new, strict=True):
            old.assign(tf.ensure_shape(value, variable.shape))
        return
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum.handle,
        v=velocity.handle,
        beta1_power=powers[0],
        beta2_power=powers[1],
        lr=tf.cast(learning_rate, dtype),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.cast(optimizer.epsilon, dtype),
        grad=gradient,
    )


class _Table:
    """Adam for a variable (n_rows, …) whose gradient contains rows, such as an embedding's; a row
    may occur several times in a batch.

    The memory is kept between steps.
    """

    # Momentum and velocity are updated in place, because nothing else reads them during a step. The
    # table alternates between two arrays, because an operation of the same step may still read the
    # values before the step.

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self._shape = (shape[0], math.prod(shape[1:]))
        # The place of each row's sums among the rows of the batch; -1 where a row is absent.
        self._places = np.full(shape[0], -1, np.int64)
        self._sums: Array = np.empty((0, 2, self._shape[1]), dtype)
        self._moments: list[Array] = [np.empty(0, dtype)] * 2
        self._memory = Memory()

    def update(  # noqa: PLR0917 - `tf.numpy_function` passes positional arguments
        self, rows: Any, values: Any, table: Any, momentum: Any, velocity: Any, numbers: Any
    ) -> tuple[Any, Any, Any]:
        """Return the table, momentum and velocity after a step, each of shape (n_rows, …).

        `rows` is int (n,), a row number for each occurrence, and `values` (n, …) its gradient.
        `numbers` is (4,): the learning rate with its bias corrections, beta_1, beta_2, epsilon.
        """
        for k, moment in enumerate((momentum, velocity)):
            own = self._moments[k]
            if own.ctypes.data != moment.ctypes.data:  # the first step, or another value was set
                self._moments[k] = self._memory.array(moment.shape, moment.dtype)
                self._moments[k][:] = moment
        new = self._memory.array(table.shape, table.dtype)
        if len(self._sums) < len(rows):
            self._sums = np.empty((len(rows), 2, self._shape[1]), table.dtype)
        n = _add_up(rows, values.reshape(len(rows), -1), self._places, self._sums)
        flat = [array.reshape(self._shape) for array in (table, new, *self._moments)]
        _adam(self._places, self._sums[:n], *flat, *numbers)
        self._places[rows] = -1
        return new, self._moments[0], self._moments[1]


def compile_kernel() -> None:
    table = np.ones((1, 1), np.float32)
    _Table(table.shape, np.float32).update(
        np.zeros(1, np.int32), table, table, table, table, np.ones(4, np.float32)
    )


@compiled
def _add_up(rows: Any, values: Any, places: Any, sums: Any) -> int:
    """Write the sums of each row's gradients and of their squares (2, columns) to a place of
    `sums`, and return the number of places.
    """
    n = 0
    for k, row in enumerate(rows):
        if places[row] < 0:
            places[row] = n
            sums[n] = 0
            n += 1
        place = places[row]
        for column in range(values.shape[1]):
            value = values[k, column]
            sums[place, 0, column] += value
            sums[place, 1, column] += value * value
    return n


@compiled
def _adam(  # noqa: PLR0913, PLR0917 - a compiled function has an argument for each array
    places: Any,
    sums: Any,
    table: Any,
    new_table: Any,
    momentum: Any,
    velocity: Any,
    rate: Any,
    beta_1: Any,
    beta_2: Any,
    epsilon: Any,
) -> None:
    """Update a table by Keras' formulas: the velocity adds the sum of the squares of a row's
    occurrences, not the square of their sum.
    """
    # All numbers have the type of the table: with a number of Python, Numba computes in float64.
    unit = table.dtype.type(1)
    rest_1, rest_2, zero = unit - beta_1, unit - beta_2, unit - unit
    for row in range(len(table)):
        place = places[row]
        # The gradient of a row that the batch lacks is 0, and in Keras its momentum still moves it.
        if place < 0:
            for k in range(table.shape[1]):
                m = momentum[row, k] + (zero - momentum[row, k]) * rest_1
                v = velocity[row, k] + (zero - velocity[row, k]) * rest_2
                momentum[row, k], velocity[row, k] = m, v
                new_table[row, k] = table[row, k] - m * rate / (np.sqrt(v) + epsilon)
        else:
            for k in range(table.shape[1]):
                m = momentum[row, k] + (sums[place, 0, k] - momentum[row, k]) * rest_1
                v = velocity[row, k] + (sums[place, 1, k] - velocity[row, k]) * rest_2
                momentum[row, k], velocity[row, k] = m, v
                new_table[row, k] = table[row, k] - m * rate / (np.sqrt(v) + epsilon)
