"""The fused Adam, whose weights and state must equal those of Keras' own."""

import contextlib
import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tuning.kernels.adam import _Table, fuse, unfuse
from tuning.kernels.fuse import fused

N_STEPS = 20  # number of steps of `fit`


def compiled(optimizer: keras.optimizers.Optimizer, *layers: keras.layers.Layer) -> keras.Model:
    """Return a model of ids below 50: some layers, and one unit."""
    ids = keras.Input((7,), dtype="int32")
    model = keras.Sequential([ids, *layers, keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    return model


def embedded(optimizer: keras.optimizers.Optimizer, *, dtype: str = "float32") -> keras.Model:
    """Return a model whose embedding may be in half precision."""
    embedding = keras.layers.Embedding(50, 4, dtype=dtype)
    return compiled(optimizer, embedding, keras.layers.Flatten(dtype="float32"))


class Table(keras.layers.Layer):
    """Rows of a table of any rank, gathered by ids: a bias for each word, or a matrix for each
    word.
    """

    def __init__(self, *row: int) -> None:
        super().__init__()
        self.row = row

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(50, *self.row), initializer="uniform")

    def call(self, ids: Any) -> Any:
        return keras.ops.reshape(
            keras.ops.take(self.table, ids, axis=0), (-1, 7 * math.prod(self.row))
        )


class InHalf(keras.Model):
    """A model whose own training step gives the optimizer gradients in half precision."""

    def train_step(self, data: Any) -> dict[str, Any]:
        ids, numbers = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(ids, training=True)[:, 0] - numbers) ** 2)
        gradients = tape.gradient(loss, [weight.value for weight in self.trainable_weights])
        gradients = [tf.cast(gradient, tf.float16) for gradient in gradients]
        self.optimizer.apply(gradients, self.trainable_weights)
        return {"loss": loss}


def with_half_gradients() -> keras.Model:
    ids = keras.Input((7,), dtype="int32")
    model = InHalf(ids, keras.layers.Dense(1)(Table(2)(ids)))
    model.compile(Adam(0.001))
    return model


def is_fused(model: keras.Model) -> bool:
    return "update_step" in vars(model.optimizer)


def fit(model: keras.Model) -> None:
    """Train on texts in which some ids are repeated, and the last rows never occur."""
    rng = np.random.default_rng(0)
    model.fit(
        rng.integers(0, 40, (100, 7)),
        rng.normal(size=100),
        batch_size=25,
        epochs=5,
        shuffle=False,
        verbose=0,
    )


Adam = keras.optimizers.Adam
MODELS: dict[str, Callable[[], keras.Model]] = {
    "schedule": lambda: embedded(
        Adam(
            keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.5),
            beta_1=0.8,
            beta_2=0.9,
            epsilon=1e-3,
        )
    ),
    "decay and norm": lambda: embedded(
        keras.optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=0.1)
    ),
    "bias for each word": lambda: compiled(Adam(0.01), Table()),
    "tensor for each word": lambda: compiled(Adam(0.01), Table(2, 3, 2)),
    "half gradients": with_half_gradients,
    "float16": lambda: embedded(Adam(0.01), dtype="float16"),
    "bfloat16": lambda: embedded(Adam(0.01), dtype="bfloat16"),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_state_are_those_of_keras(name: str) -> None:
    is_half = name in ("float16", "bfloat16")  # Keras trains this embedding.
    results = []
    for is_ours in (False, True):
        keras.utils.set_random_seed(0)
        model = MODELS[name]()
        with (
            fused(model) if is_ours else contextlib.nullcontext(),
            mock.patch.object(
                _Table, "update", autospec=True, side_effect=_Table.update
            ) as updates,
        ):
            assert is_fused(model) == is_ours
            fit(model)
        assert not is_fused(model)
        assert updates.call_count == (N_STEPS if is_ours and not is_half else 0)
        arrays = [*model.get_weights(), *map(np.asarray, model.optimizer.variables)]
        results.append([array.astype(np.float32) for array in arrays])
    for stock, ours in zip(*results, strict=True):
        # The kernel has 1 - beta_2 in single precision: 5e-5 of each step.
        np.testing.assert_allclose(ours, stock, atol=1e-2 if is_half else 1e-5)


def test_model_that_is_compiled_anew_while_it_is_fused_is_left_as_it_is() -> None:
    """A hypermodel's own `fit` compiles its model again if it trains in two phases."""
    model = embedded(Adam())
    fuse(model)
    model.compile("adam", "mse")
    unfuse(model)
    assert not is_fused(model)


@pytest.mark.parametrize(
    "optimizer", [lambda: Adam(amsgrad=True), keras.optimizers.SGD, keras.optimizers.Nadam]
)
def test_other_optimizer_is_left_alone(optimizer: Callable[[], Any]) -> None:
    model = embedded(optimizer())
    fuse(model)
    assert not is_fused(model)


def test_own_step_of_an_optimizer_is_kept() -> None:
    model, own = embedded(Adam()), lambda gradient, variable, learning_rate: None
    model.optimizer.update_step = own
    with fused(model):
        assert model.optimizer.update_step is own
    assert model.optimizer.update_step is own


@pytest.mark.slow
def test_model_for_xla_is_left_alone_and_trains() -> None:
    model = embedded(Adam(0.01))
    model.jit_compile = True
    with fused(model):
        assert not is_fused(model)
        fit(model)
    assert not is_fused(model)
