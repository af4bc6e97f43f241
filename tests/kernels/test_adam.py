"""The fused Adam, whose weights and state must equal those of Keras' own."""

import contextlib
import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest

from tuning.kernels.adam import _Table, fuse, unfuse
from tuning.kernels.fuse import fused as fused_kernels

N_STEPS = 20  # number of steps of `fit`


def embedded(optimizer: keras.optimizers.Optimizer, *, dtype: str = "float32") -> keras.Model:
    """Return a model of ids below 50, whose embedding may be in half precision."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            keras.layers.Embedding(50, 4, dtype=dtype),
            keras.layers.Flatten(dtype="float32"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer, "mse")
    return model


def is_fused(model: keras.Model) -> bool:
    return "update_step" in vars(model.optimizer)


def train(optimizer: keras.optimizers.Optimizer, *, fused: bool) -> list[np.ndarray]:
    """Return the weights and the optimizer's state after 20 steps of a model with an embedding.
    Some ids are repeated, and the last rows never occur.
    """
    model = embedded(optimizer)
    if fused:
        fuse(model)
        assert is_fused(model)
    fit(model, fused=fused)
    return [*model.get_weights(), *(np.asarray(v) for v in optimizer.variables)]


def fit(model: keras.Model, *, fused: bool) -> None:
    rng = np.random.default_rng(0)
    model.fit(
        rng.integers(0, 40, (100, 7)),
        rng.normal(size=100),
        batch_size=25,
        epochs=5,
        shuffle=False,
        verbose=0,
    )
    if fused:
        unfuse(model)
        assert not is_fused(model)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(
            keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.5),
            beta_1=0.8,
            beta_2=0.9,
            epsilon=1e-3,
        ),
        lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=0.1),
    ],
)
def test_weights_and_state_are_those_of_keras(optimizer: Callable[[], Any]) -> None:
    expected, actual = (train(optimizer(), fused=fused) for fused in (False, True))
    for stock, fused in zip(expected, actual, strict=True):
        # The kernel has 1 - beta_2 in single precision: 5e-5 of each step.
        np.testing.assert_allclose(fused, stock, atol=1e-5)


def test_model_that_is_compiled_anew_while_it_is_fused_is_left_as_it_is() -> None:
    """A hypermodel's own `fit` compiles its model again if it trains in two phases."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    fuse(model)
    model.compile("adam", "mse")
    unfuse(model)
    assert not is_fused(model)


@pytest.mark.parametrize(
    "optimizer",
    [lambda: keras.optimizers.Adam(amsgrad=True), keras.optimizers.SGD, keras.optimizers.Nadam],
)
def test_other_optimizer_is_left_alone(optimizer: Callable[[], Any]) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer(), "mse")
    fuse(model)
    assert not is_fused(model)


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


@pytest.mark.parametrize("row", [pytest.param((), marks=pytest.mark.slow), (2, 3, 2)])
def test_gathered_variable_of_any_rank_is_trained_as_keras_does(row: tuple[int, ...]) -> None:
    weights = []
    for fused in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((7,), dtype="int32"), Table(*row), keras.layers.Dense(1)]
        )
        model.compile(keras.optimizers.Adam(0.01), "mse")
        before = model.get_weights()
        with mock.patch.object(
            _Table, "update", autospec=True, side_effect=_Table.update
        ) as updates:
            if fused:
                fuse(model)
            fit(model, fused=fused)
        assert updates.call_count == (N_STEPS if fused else 0)
        weights.append(model.get_weights())
        assert all(np.abs(a - b).max() > 0.01 for a, b in zip(weights[-1], before, strict=True))
    for stock, ours in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, stock, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_embedding_in_half_precision_trains_as_in_keras(dtype: str) -> None:
    weights = []
    for fused in (False, True):
        model = embedded(keras.optimizers.Adam(0.01), dtype=dtype)
        with fused_kernels(model) if fused else contextlib.nullcontext():
            fit(model, fused=False)
        weights.append([w.astype(np.float32) for w in model.get_weights()])
    for stock, ours in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, stock, atol=1e-2)


@pytest.mark.slow
def test_model_for_xla_is_left_alone_and_trains() -> None:
    model = embedded(keras.optimizers.Adam(0.01))
    model.jit_compile = True
    fuse(model)
    assert not is_fused(model)
    with fused_kernels(model):
        fit(model, fused=False)
    assert not is_fused(model)
