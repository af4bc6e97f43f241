"""Models that `build(hp)` returns unbuilt, subclassed models as graphs, and models that Keras can
load without the code of the user.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from tests.padding.graphs import ROWS, over
from tests.styles import STYLES, lazy_sequential, subclassed
from tuning.training.architecture import as_graph, ensure_built, ignores_padding, is_stock

layers, ops = keras.layers, keras.ops
LENGTH = 9


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("style", STYLES)
def test_ensure_built_creates_the_variables_of_a_first_call(
    style: Callable[..., keras.Model], masked: bool
) -> None:
    model, called = style(masked=masked), style(masked=masked)
    ensure_built(model, sequence_length=LENGTH)
    called(np.ones((2, LENGTH), np.int32))
    assert [tuple(v.shape) for v in model.variables] == [tuple(v.shape) for v in called.variables]
    assert model.count_params() == called.count_params()


def test_lazy_sequential_gets_an_integer_input_of_any_length_where_it_masks() -> None:
    masked, unmasked = lazy_sequential(masked=True), lazy_sequential(masked=False)
    for model in (masked, unmasked):
        ensure_built(model, sequence_length=LENGTH)
    assert [(model.inputs[0].shape, model.inputs[0].dtype) for model in (masked, unmasked)] == [
        ((None, None), "int32"),
        ((None, LENGTH), "int32"),
    ]
    assert ignores_padding(masked) and not ignores_padding(unmasked)


class Numbers(keras.Model):
    """A model that Keras can't trace: a symbolic tensor can't be converted to an array."""

    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(1, activation="sigmoid")

    def call(self, ids: Any) -> Any:
        return self.head(np.asarray(ids, dtype=np.float32))


class Own(keras.Model):
    """A model that owns a table. A graph would store the table as a constant, and its file would
    contain the table as text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = self.add_weight(shape=(ROWS, 4), initializer="uniform")
        self.head = layers.Dense(1, activation="sigmoid")

    def call(self, ids: Any) -> Any:
        return self.head(ops.mean(ops.take(self.table, ids, axis=0), axis=1))


@pytest.mark.parametrize(
    ("kind", "eager", "n_parameters"), [(Numbers, True, LENGTH + 1), (Own, False, 4 * ROWS + 5)]
)
def test_model_that_can_be_no_graph_is_built_and_stays_as_it_is(
    kind: type[keras.Model], eager: bool, n_parameters: int
) -> None:
    model = kind()
    model.compile("adam", "binary_crossentropy", run_eagerly=eager)
    ensure_built(model, sequence_length=LENGTH)
    assert model.count_params() == n_parameters
    assert as_graph(model, sequence_length=LENGTH) is model


class Reads(keras.Model):
    """A functional model whose own `call` reads the padding."""

    def call(self, ids: Any, training: bool = False, mask: Any = None) -> Any:
        return super().call(ids, training=training) * ops.mean(
            ops.cast(ids, "float32"), axis=1, keepdims=True
        )


def subclass_of_a_graph() -> keras.Model:
    plain = over(lambda x, w: layers.LSTM(3)(x), mask_zero=True)
    return Reads(plain.inputs[0], plain.outputs[0])


@pytest.mark.parametrize("make", [partial(subclassed, masked=True), subclass_of_a_graph])
def test_subclassed_model_becomes_a_graph_of_its_own_call(make: Callable[[], keras.Model]) -> None:
    model = make()
    ensure_built(model, sequence_length=LENGTH)
    graph = as_graph(model, sequence_length=LENGTH)
    ids = np.random.default_rng(0).integers(0, ROWS, (6, LENGTH)).astype(np.int32)
    np.testing.assert_allclose(graph.predict_on_batch(ids), model.predict_on_batch(ids), atol=1e-7)
    assert is_stock(graph) and not is_stock(model)
    assert not ignores_padding(model)


class Forgetful(layers.Layer):
    """A layer whose `get_config` reads an attribute that is never set, as in many copies."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()

    def call(self, x: Any) -> Any:
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


class Same(layers.Dense):
    """A layer of a module whose name begins with keras."""

    __module__ = "keras_self_attention.layers"


def ones(shape: Any, dtype: Any = None) -> Any:
    return ops.ones(shape, dtype)


HE_NORMAL = keras.initializers.HeNormal()


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            lambda: layers.Dense(3, "relu", kernel_regularizer="l2", kernel_initializer=HE_NORMAL),
            True,
        ),
        (lambda: layers.Dense(3, activation=lambda x: x), False),
        (lambda: layers.Lambda(lambda x: x), False),
        (lambda: layers.Dense(3, kernel_initializer=ones), False),
        (Forgetful, False),
        (lambda: Same(3), False),
    ],
)
def test_stock_model_has_nothing_of_the_user_s_own(
    part: Callable[[], layers.Layer], expected: bool
) -> None:
    assert is_stock(over(lambda x, w: part()(layers.LSTM(3)(x)))) is expected
