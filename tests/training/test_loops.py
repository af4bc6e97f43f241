"""Tracing the training steps before the first epoch changes nothing but the time."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tuning.training.loops import trace_steps

layers = keras.layers

N_ROWS, LENGTH, VOCAB_SIZE = 200, 6, 30


def arrays(n_classes: int = 2) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCAB_SIZE, (N_ROWS, LENGTH)).astype(np.int32)
    return ids, (ids.sum(axis=1) % n_classes).astype(np.int64)


def batches(n_rows: int, *, n_classes: int = 2) -> tf.data.Dataset:
    """Return a data set of batches of so many rows, the last of which may be smaller."""
    ids, labels = arrays(n_classes)

    def generate() -> Iterator[Any]:
        for start in range(0, N_ROWS, n_rows):
            yield ids[start : start + n_rows], labels[start : start + n_rows]

    signature = tf.TensorSpec((None, LENGTH), tf.int32), tf.TensorSpec((None,), tf.int64)
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(-(-N_ROWS // n_rows)))


def binary(
    *middle: layers.Layer,
    model: Callable[..., keras.Model] = keras.Model,
    metrics: Any = "accuracy",
) -> keras.Model:
    ids = keras.Input((LENGTH,), dtype="int32")
    values = layers.Embedding(VOCAB_SIZE, 4)(ids)
    for layer in middle:
        values = layer(values)
    built = model(ids, layers.Dense(1, activation="sigmoid")(values))
    built.compile("adam", "binary_crossentropy", metrics=[metrics], jit_compile=False)
    return built


def of_three_classes() -> keras.Model:
    ids = keras.Input((LENGTH,), dtype="int32")
    values = layers.GlobalMaxPooling1D()(layers.Embedding(VOCAB_SIZE, 4)(ids))
    model = keras.Model(ids, layers.Dense(3, activation="softmax")(values))
    model.compile(
        keras.optimizers.AdamW(0.01, clipnorm=1.0),
        "sparse_categorical_crossentropy",
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2")],
        jit_compile=False,
    )
    return model


class OwnStep(keras.Model):
    """A model with a loop of its own, as in Keras' guides; its logs have a further value."""

    def train_step(self, data: Any) -> dict[str, Any]:
        return {**super().train_step(data), "steps": tf.cast(self.optimizer.iterations, "float32")}


class OwnFit(keras.Model):
    """A model that trains on each batch twice."""

    def fit(self, x: Any = None, **options: Any) -> Any:
        return super().fit(x.repeat(2), **options)


class Ratio(keras.metrics.Metric):
    """A metric that is not defined before its first batch, as integers are divided."""

    def __init__(self) -> None:
        super().__init__(name="ratio", dtype="int32")
        self.right = self.add_weight(name="right", initializer="zeros", dtype="int32")
        self.seen = self.add_weight(name="seen", initializer="zeros", dtype="int32")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        is_right = tf.equal(tf.cast(y_pred[:, 0] > 0.5, tf.int64), tf.reshape(y_true, (-1,)))
        self.right.assign_add(100 * tf.reduce_sum(tf.cast(is_right, tf.int32)))
        self.seen.assign_add(tf.size(y_true))

    def result(self) -> Any:
        return self.right.value // self.seen.value


class LossFirst(keras.Model):
    """A model whose logs have a part of its loss, as in Keras' guide to variational autoencoders.
    Keras calls `compute_loss` before `compute_metrics`.
    """

    part: Any

    def compute_loss(self, *arguments: Any, **options: Any) -> Any:
        loss = super().compute_loss(*arguments, **options)
        self.part = loss / 2
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "part": self.part}


# Each model with a number of rows of a batch: 5 rows make 40 steps, which need two calls of the
# traced function, and 64 rows make 4 steps.
MODELS: dict[str, tuple[int, Callable[[], keras.Model]]] = {
    "dropout": (
        5,
        lambda: binary(layers.SpatialDropout1D(0.3), layers.LSTM(3), layers.Dropout(0.4)),
    ),
    "mean": (64, lambda: binary(layers.GlobalAveragePooling1D())),
    "batch statistics": (5, lambda: binary(layers.Flatten(), layers.BatchNormalization())),
    "three classes": (64, of_three_classes),
    "own step": (5, lambda: binary(layers.Flatten(), model=OwnStep)),
    "own fit": (5, lambda: binary(layers.Flatten(), model=OwnFit)),
    "loss first": (64, lambda: binary(layers.Flatten(), model=LossFirst)),
    "undefined metric": (64, lambda: binary(layers.Flatten(), metrics=Ratio())),
}


def trace(model: keras.Model, data: tf.data.Dataset, *, n_classes: int = 2) -> None:
    ids, labels = arrays(n_classes)
    trace_steps(model, data.element_spec, batch=(ids[:2], labels[:2]))


def trained(name: str, *, traced: bool) -> tuple[keras.Model, dict[str, list[float]]]:
    """Return a model after three epochs, and the logs of each, traced before or by `fit`."""
    keras.utils.set_random_seed(1)
    n_rows, make = MODELS[name]
    n_classes = 3 if name == "three classes" else 2
    model, data = make(), batches(n_rows, n_classes=n_classes)
    if traced:
        trace(model, data, n_classes=n_classes)
    history = model.fit(data, epochs=3, shuffle=False, verbose=0)
    return model, history.history


@pytest.mark.parametrize("name", MODELS)
def test_training_is_that_of_a_model_that_is_not_traced(name: str) -> None:
    (mine, my_logs), (kerass, keras_logs) = (
        trained(name, traced=traced) for traced in (True, False)
    )
    assert my_logs.keys() == keras_logs.keys() and len(my_logs["loss"]) == 3
    for metric, values in keras_logs.items():
        np.testing.assert_allclose(my_logs[metric], values, rtol=1e-6)
    for weights, expected in zip(mine.get_weights(), kerass.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-7)
    n_steps = 3 * -(-N_ROWS // MODELS[name][0])
    assert mine.optimizer.iterations == n_steps * (2 if name == "own fit" else 1)


def test_tracing_trains_nothing() -> None:
    n_rows, make = MODELS["dropout"]
    model = make()
    before = [variable.numpy().copy() for variable in model.variables]
    trace(model, batches(n_rows))
    assert model.optimizer.iterations == 0
    np.testing.assert_equal([variable.numpy() for variable in model.variables], before)


@pytest.mark.parametrize(
    "error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "full")]
)
def test_memory_that_runs_out_is_not_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise error

    n_rows, make = MODELS["mean"]
    monkeypatch.setattr(keras.Model, "_symbolic_build", full)
    with pytest.raises(type(error)):
        trace(make(), batches(n_rows))
