"""Models that `build(hp)` returns unbuilt, models that read their padding, and subclassed models as
graphs.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from tests.styles import ROWS, STYLES, lazy_sequential, subclassed
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


def test_model_that_runs_eagerly_is_built_by_numbers() -> None:
    class Numbers(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = layers.Dense(1, activation="sigmoid")

        def call(self, ids: Any) -> Any:
            # A symbolic tensor can't be converted to an array.
            return self.head(np.asarray(ids, dtype=np.float32))

    model = Numbers()
    model.compile("adam", "binary_crossentropy", run_eagerly=True)
    ensure_built(model, sequence_length=LENGTH)
    assert model.count_params() == LENGTH + 1


def over_ids(*after: Callable[[Any], Any], length: int | None = None) -> keras.Model:
    ids = keras.Input((length,), dtype="int32")
    x = layers.Embedding(ROWS, 4, mask_zero=True)(ids)
    for part in after:
        x = part(x)
    return keras.Model(ids, layers.Dense(1, activation="sigmoid")(x))


def with_initial_state() -> keras.Model:
    """Return a model whose encoder states start the next LSTM; Keras then does not pass the mask
    on.
    """
    ids = keras.Input((None,), dtype="int32")
    sequence, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(
        layers.Embedding(ROWS, 4, mask_zero=True)(ids)
    )
    return keras.Model(
        ids, layers.Dense(1, activation="sigmoid")(layers.LSTM(4)(sequence, initial_state=[h, c]))
    )


def with_another_mask() -> keras.Model:
    ids = keras.Input((None,), dtype="int32")
    x = layers.LSTM(3)(layers.Embedding(ROWS, 4, mask_zero=True)(ids), mask=ops.not_equal(ids, 1))
    return keras.Model(ids, layers.Dense(1, activation="sigmoid")(x))


def without_masking(layer: layers.Layer) -> layers.Layer:
    layer.supports_masking = False
    return layer


PADDING_IS_READ = {
    "initial state": with_initial_state,
    "mask that is not of the padding": with_another_mask,
    "layer that drops the mask": lambda: over_ids(without_masking(layers.Dense(3)), layers.LSTM(3)),
    "activation over the batch": lambda: over_ids(
        layers.LSTM(3, activation=lambda x: ops.softmax(x, axis=0))
    ),
    "noise of a fixed length": lambda: over_ids(
        layers.Dropout(0.2, noise_shape=(None, 9, 1)), layers.LSTM(3)
    ),
    "fixed length": lambda: over_ids(layers.LSTM(3), length=LENGTH),
    "nested": lambda: over_ids(keras.Sequential([layers.GlobalMaxPooling1D()])),
    "reversed sequence": lambda: over_ids(
        layers.LSTM(3, go_backwards=True, return_sequences=True), layers.LSTM(3)
    ),
    "reversed inside Bidirectional": lambda: over_ids(
        layers.Bidirectional(
            layers.LSTM(3, go_backwards=True, return_sequences=True),
            backward_layer=layers.LSTM(3, return_sequences=True),
        ),
        layers.LSTM(3),
    ),
    "softmax over time": lambda: over_ids(
        layers.Dense(3, activation=lambda x: ops.softmax(x, axis=1)),
        layers.GlobalAveragePooling1D(data_format="channels_last"),
    ),
    "penalty on outputs": lambda: over_ids(
        layers.Dense(3, activity_regularizer="l2"), layers.LSTM(3)
    ),
    "subclassed": lambda: built(subclassed(masked=True)),
    "subclass of a graph": lambda: Reads(*ends(over_ids(layers.LSTM(3)))),
}


class Reads(keras.Model):
    """A functional model whose own `call` reads the padding."""

    def call(self, ids: Any, training: bool = False, mask: Any = None) -> Any:
        return super().call(ids, training=training) * ops.mean(
            ops.cast(ids, "float32"), axis=1, keepdims=True
        )


def ends(model: keras.Model) -> tuple[Any, Any]:
    return model.inputs[0], model.outputs[0]


def built(model: keras.Model) -> keras.Model:
    ensure_built(model, sequence_length=LENGTH)
    return model


@pytest.mark.filterwarnings(
    "ignore:Layer .* was passed an input with a mask attached to it:UserWarning"
)
@pytest.mark.parametrize("name", PADDING_IS_READ)
def test_model_that_may_read_padding_is_not_believed_to_ignore_it(name: str) -> None:
    assert not ignores_padding(PADDING_IS_READ[name]())


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_subclassed_model_becomes_a_graph_of_its_layers(masked: bool) -> None:
    model = built(subclassed(masked=masked))
    graph = as_graph(model, sequence_length=LENGTH)
    ids = np.random.default_rng(0).integers(0, ROWS, (6, LENGTH)).astype(np.int32)
    np.testing.assert_allclose(graph.predict_on_batch(ids), model.predict_on_batch(ids), atol=1e-7)
    assert is_stock(graph) and not is_stock(model)


def test_model_that_needs_to_be_told_whether_it_trains_is_built() -> None:
    class Told(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = (
                layers.Embedding(ROWS, 4),
                layers.Dense(1, activation="sigmoid"),
            )

        def call(self, ids: Any, training: bool) -> Any:
            return self.head(ops.mean(self.embedding(ids), axis=1))

    model = Told()
    model.compile("adam", "binary_crossentropy")
    assert built(model).count_params() == 4 * ROWS + 5


def test_model_that_owns_a_table_stays_as_it_is() -> None:
    """A graph would store the table as a constant, and its file would contain the table as text."""

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.table = self.add_weight(shape=(ROWS, 4), initializer="uniform")
            self.head = layers.Dense(1, activation="sigmoid")

        def call(self, ids: Any) -> Any:
            return self.head(ops.mean(ops.take(self.table, ids, axis=0), axis=1))

    model = Own()
    model.compile("adam", "binary_crossentropy")
    assert as_graph(built(model), sequence_length=LENGTH) is model


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            lambda: layers.Dense(
                3,
                "relu",
                kernel_regularizer="l2",
                kernel_initializer=keras.initializers.HeNormal(),
            ),
            True,
        ),
        (lambda: layers.Dense(3, activation=lambda x: x), False),
        (lambda: layers.Lambda(lambda x: x), False),
        (
            lambda: layers.Dense(
                3, kernel_initializer=lambda shape, dtype=None: ops.ones(shape, dtype)
            ),
            False,
        ),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:Layer .* was passed an input with a mask attached to it:UserWarning"
)
def test_stock_model_has_no_function_of_the_user_s_own(
    part: Callable[[], layers.Layer], expected: bool
) -> None:
    assert is_stock(over_ids(layers.LSTM(3), part())) is expected


class Forgetful(layers.Layer):
    """A layer whose `get_config` reads an attribute that is never set, as in many copies."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()

    def call(self, x: Any) -> Any:
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


def test_layer_that_can_not_be_written_is_the_user_s_own() -> None:
    assert not is_stock(over_ids(layers.LSTM(3), Forgetful()))


def test_module_whose_name_begins_with_keras_is_the_user_s_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Same(layers.Dense):
        pass

    monkeypatch.setattr(Same, "__module__", "keras_self_attention.layers")
    assert not is_stock(over_ids(layers.LSTM(3), Same(3)))


def test_subclass_of_a_graph_keeps_its_own_call() -> None:
    model = Reads(*ends(over_ids(layers.LSTM(3))))
    ids = np.ones((2, LENGTH), np.int32)
    np.testing.assert_allclose(
        as_graph(model, sequence_length=LENGTH).predict_on_batch(ids),
        model.predict_on_batch(ids),
        atol=1e-7,
    )


def test_call_that_keras_can_not_trace_leaves_the_model_as_it_is() -> None:
    class Numbers(keras.Model):
        def call(self, ids: Any) -> Any:
            return np.asarray(ids).mean(axis=1, keepdims=True)

    model = Numbers()
    assert as_graph(model, sequence_length=LENGTH) is model
