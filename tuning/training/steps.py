"""The function with which `keras.Model.fit` trains, traced before the first epoch."""

from __future__ import annotations

import contextlib
import logging
import weakref
from typing import Any

import keras
import tensorflow as tf

logger = logging.getLogger(__name__)

# Keras' own work between two calls into TensorFlow took 1 to 2 ms of the 6 to 10 ms of a batch.
STEPS_PER_EXECUTION = 32
# Methods that decide what a call of Keras' training function computes. A model that overrides one
# of them is trained by Keras' function.
METHODS = ("fit", "train_step", "compute_metrics", "get_metrics_result", "make_train_function")


def trace_steps(model: keras.Model, spec: Any, *, batch: tuple[Any, Any], n_batches: int) -> None:
    """Create the variables of a compiled model's optimizer and metrics, and trace the function of
    its training steps. Nothing is trained. So the first epoch takes as long as the others.

    A model that runs eagerly is left as it is, and its own `steps_per_execution` remains. If the
    model raises an error here, creating and tracing are left to `fit`, which raises the error again
    unless it depends on the order.

    Args:
        model: the compiled model.
        spec: the specification of a batch, as `tf.data.Dataset.element_spec` gives it.
        batch: the inputs and the targets of a few rows.
        n_batches: number of batches that each epoch of `fit` has.
    """
    # Metrics of a model that runs eagerly may need numbers, which symbolic tensors do not have.
    if model.run_eagerly:
        return
    is_default = model.steps_per_execution == 1
    if is_default:
        model.steps_per_execution = STEPS_PER_EXECUTION
    try:
        # Without this call, Keras creates the variables while it traces a step, and must trace the
        # step once more. This takes 0.15 s for each trial.
        with model.distribute_strategy.scope():
            model._symbolic_build(data_batch=batch)
        if is_default:
            _trace(model, spec, n_batches=n_batches)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception:  # For example, the logs of a model may need its loss first.
        logger.info("The training steps of %s are traced by fit().", model.name, exc_info=True)
        model.train_function = None


def _trace(model: keras.Model, spec: Any, *, n_batches: int) -> None:
    """Trace a model's training function with a data set that has no batches."""
    empty = iter(tf.data.Dataset.from_generator(lambda: iter(()), output_signature=spec))
    if _runs_keras_step(model):
        steps = _Steps(model, n_batches=n_batches)
        # An own metric may not have a result before its first batch.
        with contextlib.suppress(tf.errors.OpError):
            steps.run(empty, 0)
        model.train_function = steps
        return
    model.make_train_function()
    with contextlib.suppress(StopIteration):
        model.train_function(empty)


def _runs_keras_step(model: keras.Model) -> bool:
    """Return whether a training step of a model is Keras' own, without XLA and outside a strategy,
    and its logs are the results of the metrics.
    """
    overrides = [
        name
        for name in METHODS
        if getattr(getattr(model, name), "__func__", None) is not getattr(keras.Model, name)
    ]
    in_a_strategy = model.distribute_strategy is not tf.distribute.get_strategy()
    return not overrides and not model.jit_compile and not in_a_strategy


class _Steps:
    """The function of a model's training steps, `keras.Model.train_function`.

    It computes what Keras' function computes. Keras' graph finds the end of the data by itself and
    returns the results of every step, for which it needs two conditions and one function more. With
    this graph the first step of `masked_lstm` takes 0.40 s, with Keras' graph 0.53 s (one core of
    an AMD EPYC). A metric's `result()` that changes the metric runs once more in each call.
    """

    def __init__(self, model: keras.Model, *, n_batches: int) -> None:
        self._n_batches = n_batches
        self._n_left = 0
        self._iterator: Any = None  # a weak reference to the iterator of the epoch

        def make_steps(iterator: tf.data.Iterator, n_steps: tf.Tensor) -> dict[str, tf.Tensor]:
            def step(number: tf.Tensor) -> tuple[tf.Tensor]:
                model.train_step(iterator.get_next())
                return (number + 1,)

            # One step begins when all operations of the step before have ended.
            tf.while_loop(
                lambda number: number < n_steps, step, (tf.constant(0),), parallel_iterations=1
            )
            return model.get_metrics_result()  # type: ignore[no-any-return]

        self._traced = tf.function(make_steps, autograph=False)

    def run(self, iterator: tf.data.Iterator, n_steps: int) -> dict[str, tf.Tensor]:
        """Make `n_steps` steps, and return the results of the metrics."""
        results: dict[str, tf.Tensor] = self._traced(iterator, tf.constant(n_steps))
        return results

    def __call__(self, iterator: tf.data.Iterator) -> dict[str, tf.Tensor]:
        """Make the next steps of an epoch, at most `STEPS_PER_EXECUTION`. `fit` reads each epoch
        through a new iterator.
        """
        if self._iterator is None or self._iterator() is not iterator:
            self._iterator, self._n_left = weakref.ref(iterator), self._n_batches
        n_steps = min(self._n_left, STEPS_PER_EXECUTION)
        self._n_left -= n_steps
        return self.run(iterator, n_steps)
