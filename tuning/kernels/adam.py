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

from tuning.kernels.compiling import Array, aligned, compiled


def fuse(model: keras.Model) -> bool:
    """Replace the update step of a model's optimizer by the kernel.

    The conditions: Adam or AdamW without `amsgrad`, a CPU, no XLA.

    Returns:
        Whether the step was replaced; if so, `unfuse` restores it.
    """
    optimizer = model.optimizer
    fits = (
        type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW) and not optimizer.amsgrad
    )
    if fits and model.jit_compile is not True and not tf.config.list_physical_devices("GPU"):
        optimizer.update_step = partial(_update_step, optimizer)
        return True
    return False


def unfuse(model: keras.Model) -> None:
    """Restore the optimizer's own update step."""
    # The fit() of a hypermodel may have compiled the model again, with another optimizer.
    if "update_step" in vars(model.optimizer):
        del model.optimizer.update_step


def _update_step(
    optimizer: keras.optimizers.Adam, gradient: Any, variable: tf.Variable, learning_rate: Any
) -> None:
    """`keras.optimizers.Adam.update_step`, in one operation (Kingma and Ba, 2014, with the bias
    corrections in the learning rate).
    """
    dtype = variable.dtype
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
    """Adam for a variable (n_rows, …) whose gradient names rows, such as an embedding's; a row may
    occur several times in a batch.

    The arrays for the sums of a row's gradients and of their squares are kept between steps, and
    are zero after each step.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        flat = (shape[0], math.prod(shape[1:]))
        self._sums: Array = np.zeros(flat, dtype)
        self._squares: Array = np.zeros(flat, dtype)

    def update(
        self, rows: Any, values: Any, table: Any, momentum: Any, velocity: Any, numbers: Any
    ) -> tuple[Any, Any, Any]:
        """The table, momentum and velocity after a step.

        Args:
            rows: int (n,), a row number for each occurrence.
            values: (n, …), the gradient of each occurrence.
            table: (n_rows, …), the variable.
            momentum: the shape of `table`.
            velocity: the shape of `table`.
            numbers: (4,), the learning rate with its bias corrections, beta_1, beta_2, epsilon.
        """
        new = (
            aligned(table.shape, table.dtype),
            aligned(table.shape, table.dtype),
            aligned(table.shape, table.dtype),
        )
        _add_up(rows, values.reshape(len(rows), self._sums.shape[1]), self._sums, self._squares)
        flat = [
            array.reshape(-1)
            for array in (self._sums, self._squares, table, momentum, velocity, *new)
        ]
        _adam(*flat, *numbers)
        _clear(rows, self._sums, self._squares)
        return new


def compile_kernel() -> None:
    """Have Numba compile the functions that `_Table` calls for float32, or load their code."""
    table = np.ones((1, 1), np.float32)
    _Table(table.shape, np.float32).update(
        np.zeros(1, np.int32), table, table, table, table, np.ones(4, np.float32)
    )


@compiled
def _add_up(rows: Any, values: Any, sums: Any, squares: Any) -> None:
    for k, row in enumerate(rows):
        for column in range(values.shape[1]):
            value = values[k, column]
            sums[row, column] += value
            squares[row, column] += value * value


@compiled
def _clear(rows: Any, sums: Any, squares: Any) -> None:
    for row in rows:
        for column in range(sums.shape[1]):
            sums[row, column] = squares[row, column] = 0


@compiled
def _adam(
    sums: Any,
    squares: Any,
    table: Any,
    momentum: Any,
    velocity: Any,
    new_table: Any,
    new_momentum: Any,
    new_velocity: Any,
    rate: Any,
    beta_1: Any,
    beta_2: Any,
    epsilon: Any,
) -> None:
    """Keras' formulas: the velocity adds the sum of the squares of a row's occurrences, not the
    square of their sum.
    """
    unit = sums.dtype.type(1)
    rest_1, rest_2 = unit - beta_1, unit - beta_2
    for k in range(len(table)):
        m = momentum[k] + (sums[k] - momentum[k]) * rest_1
        v = velocity[k] + (squares[k] - velocity[k]) * rest_2
        new_momentum[k], new_velocity[k] = m, v
        new_table[k] = table[k] - m * rate / (np.sqrt(v) + epsilon)
