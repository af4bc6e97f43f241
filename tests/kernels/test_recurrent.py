"""The kernel compared with Keras' own LSTM and GRU: outputs, gradients, weights after training, and
the conditions under which the kernel runs.
"""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.python.framework import ops

from tests.kernels.layers import CELLS, ROWS, arguments_of, ids, pair, reserve_of
from tests.training.test_fit import run
from tuning.kernels.recurrent import Kernel, fuse, unfuse
from tuning.kernels.recurrent_sequence import Arguments, backward, forward
from tuning.models import lstm_classifier
from tuning.training.result import FitResult


def gradients(model: keras.Model, x: np.ndarray, *, training: bool = False) -> list[np.ndarray]:
    """Return the gradients of a loss that weights every output, for the input (if it is real) and
    the weights.
    """
    inputs = tf.constant(x)
    weights = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = model(inputs, training=training)
        loss = tf.reduce_sum(
            tf.square(outputs)
            * np.linspace(1, 2, outputs.shape[-1], dtype=outputs.dtype.as_numpy_dtype)
        )
    gradients = tape.gradient(loss, [inputs, *weights] if x.dtype.kind == "f" else weights)
    return [tf.convert_to_tensor(g).numpy() for g in gradients]


@pytest.mark.parametrize("kind", [keras.layers.LSTM, keras.layers.GRU])
def test_integers_are_multiplied_as_by_keras(kind: type[keras.layers.Layer]) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 1), dtype="int32"), kind(3)])
    x = np.random.default_rng(0).integers(0, 9, (4, 5, 1)).astype(np.int32)
    expected = model(x).numpy()
    fuse(model)
    np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-6)


def vectors() -> np.ndarray:
    """Return inputs (60, 9, 3) that are masked completely, at the beginning, at the end, in the
    middle, or not at all. The last rows of the batch end before the first rows, and one of them
    ends late, so that the number of rows in a step falls and rises.
    """
    x = np.random.default_rng(0).normal(size=(60, 9, 3)).astype(np.float32)
    for row in range(12, 60):
        x[row, 9 - row // 8 :] = 0
    x[55], x[55, 6:8] = 0, 1
    x[0] = 0
    x[1, :4] = 0
    x[2, 5:] = 0
    x[3, [2, 6]] = 0
    return x


def layered(
    *, masked: bool, bidirectional: bool = False, cell: str = "lstm", **options: Any
) -> keras.Model:
    layer = CELLS[cell](4, bias_initializer="uniform", **options)
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            *([keras.layers.Masking()] if masked else []),
            keras.layers.Bidirectional(layer) if bidirectional else layer,
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("n", "length", "units", "use_bias"),
    [(1, 1, 1, True), (3, 40, 16, False), (8, 12, 64, True), (2, 5, 130, True), (150, 4, 3, True)],
)
def test_outputs_and_gradients_outside_training_are_those_of_keras(
    cell: str, masked: bool, n: int, length: int, units: int, use_bias: bool
) -> None:
    """Outside training the kernel keeps no reserve, and runs once more for the gradient."""

    def build() -> keras.Model:
        embedding = keras.layers.Embedding(ROWS, 3, mask_zero=masked)
        layer = CELLS[cell](units, bias_initializer="uniform", use_bias=use_bias)
        return keras.Sequential([keras.Input((None,), dtype="int32"), embedding, layer])

    models, x = pair(build), ids(n=n, length=length)
    for stock, fused in zip(
        *([model.predict_on_batch(x), *gradients(model, x)] for model in models), strict=True
    ):
        np.testing.assert_allclose(fused, stock, atol=1e-5)


# In each direction, every pair of the other options occurs in every combination (an orthogonal
# array of strength 2). Keras builds its graph for seconds if there is recurrent dropout.
@pytest.mark.parametrize(
    "direction", ["forward", pytest.param("backward", marks=pytest.mark.slow), "bidirectional"]
)
@pytest.mark.parametrize(
    ("recurrent_dropout", "return_sequences", "masked"),
    [
        (0.0, True, True),
        pytest.param(0.0, False, False, marks=pytest.mark.slow),
        pytest.param(0.3, False, True, marks=pytest.mark.slow),
        pytest.param(0.3, True, False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_layer_is_that_of_keras(
    cell: str, direction: str, recurrent_dropout: float, return_sequences: bool, masked: bool
) -> None:
    """Compare the outputs, the gradients in training (with the same dropout masks) and the weights
    after steps of Adam.
    """
    bidirectional, go_backwards = direction == "bidirectional", direction == "backward"
    options = {
        "return_sequences": return_sequences,
        "go_backwards": go_backwards,
        "dropout": 0.3,
        "recurrent_dropout": recurrent_dropout,
    }
    models = pair(
        lambda: layered(cell=cell, masked=masked, bidirectional=bidirectional, **options),
        1 + bidirectional,
    )
    # Keras' graph takes longer to trace than its layer takes without one.
    models[0].run_eagerly = True
    x = vectors()
    results = []
    for model in models:
        outputs = np.asarray(model(x))
        slopes = gradients(model, x, training=True)
        model.fit(x, np.ones_like(outputs), batch_size=30, epochs=3, shuffle=False, verbose=0)
        results.append([outputs, *slopes, *model.get_weights()])
    for stock, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, stock, atol=2e-5)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def outputs_of(given: Arguments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `forward` returns, step by step by the formulas of Keras' layers."""
    x, weights, h, c, mask, dropout = given
    outputs = np.empty((*x.shape[:2], h.shape[1]))
    by_gate = weights.reshape(len(weights), 4, -1)
    for t in range(x.shape[1]):
        features = x[:, t] * dropout[0] if len(dropout) == 1 else x[:, t]
        rows = np.concatenate([features, np.ones((len(x), 1)), h], axis=1)
        factors = dropout if len(dropout) == 4 else np.ones((4, 1, 1))
        gates = [(rows * factors[k]) @ by_gate[:, k] for k in range(4)]
        first, second = sigmoid(gates[0]), sigmoid(gates[1])
        if given.is_gru:
            candidate = np.tanh(gates[2] + second * gates[3])
            new_h, new_c = candidate + first * (h - candidate), c
        else:
            new_c = second * c + first * np.tanh(gates[2])
            new_h = sigmoid(gates[3]) * np.tanh(new_c)
        is_step = mask[:, t, None] if len(mask) else True
        h, c = np.where(is_step, new_h, h), np.where(is_step, new_c, c)
        outputs[:, t] = h
    return outputs, h, c


@given(
    st.fixed_dictionaries(
        {
            "batch": st.integers(1, 4),
            "length": st.integers(1, 6),
            "features": st.integers(1, 3),
            "units": st.integers(1, 5),
            "dropouts": st.sampled_from([0, 1, 4]),
            "masked": st.booleans(),
            "is_gru": st.booleans(),
        }
    ),
    st.integers(0, 2**32 - 1),
)
def test_gradient_of_the_kernel_is_the_slope_of_its_outputs(
    sizes: dict[str, Any], seed: int
) -> None:
    """Compare with central differences in double precision, for many shapes, masks and dropouts."""
    rng = np.random.default_rng(seed)
    given_ = arguments_of(seed, **sizes)
    exact = Arguments(*(a.astype(float) if a.dtype.kind == "f" else a for a in given_))
    reserve = reserve_of(given_, sizes["length"])
    outputs = forward(given_, reserve, return_sequences=True)
    for output, expected in zip(outputs, outputs_of(exact), strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-5)
    upstream = tuple(rng.normal(size=output.shape).astype(np.float32) for output in outputs)

    def value(arguments: Arguments) -> float:
        pairs = zip(outputs_of(arguments), upstream, strict=True)
        return float(sum((output * weight).sum() for output, weight in pairs))

    for name, slope in zip(
        ("x", "weights", "h", "c"), backward(upstream, given_, reserve), strict=True
    ):
        direction = rng.normal(size=slope.shape)
        step = 1e-6 * direction
        ends = [
            value(exact._replace(**{name: getattr(exact, name) + sign * step})) for sign in (1, -1)
        ]
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(
            (slope * direction).sum(), rel=1e-4, abs=1e-4
        ), name


def test_layer_called_more_often_than_it_keeps_is_that_of_keras() -> None:
    def build() -> keras.Model:
        shared = keras.layers.LSTM(3)
        inputs = keras.Input((None, 3))
        outputs = [shared(inputs * float(scale)) for scale in range(1, 8)]
        return keras.Model(inputs, keras.layers.Concatenate()(outputs))

    x = vectors()
    for stock, fused in zip(
        *(gradients(model, x, training=True) for model in pair(build)), strict=True
    ):
        np.testing.assert_allclose(fused, stock, atol=1e-5)


@pytest.mark.parametrize(("cell", "n_states"), [("lstm", 2), ("gru", 1)])
def test_initial_state_is_that_of_keras(cell: str, n_states: int) -> None:
    """A decoder begins with the state of an encoder; a text without a token keeps it."""

    def build() -> keras.Model:
        inputs = keras.Input((None, 3))
        masked = keras.layers.Masking()(inputs)
        _, *states = CELLS[cell](4, return_state=True)(masked)
        decoder = CELLS[cell](4, return_sequences=True, return_state=True)
        outputs, *last = decoder(masked, initial_state=states)
        assert len(last) == n_states
        return keras.Model(inputs, keras.layers.Concatenate()([outputs[:, -1], *last]))

    models = pair(build, 2)
    for stock, fused in zip(*(gradients(model, vectors()) for model in models), strict=True):
        np.testing.assert_allclose(fused, stock, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 9), (60, 9, 1)], ids=["of one text", "of three axes"])
def test_mask_is_read_as_keras_reads_it(shape: tuple[int, ...]) -> None:
    mask = np.resize([True, True, False, True], shape)

    def build() -> keras.Model:
        inputs = keras.Input((9, 3))
        given = keras.Input(shape[1:], batch_size=shape[0], dtype="bool")
        outputs = keras.layers.LSTM(4, return_sequences=True)(inputs, mask=given)
        return keras.Model([inputs, given], outputs)

    stock, fused = (model([vectors(), mask], training=True) for model in pair(build))
    np.testing.assert_allclose(fused, stock, atol=1e-6)


def test_second_derivative_is_refused() -> None:
    model = layered(masked=False)
    fuse(model)
    x = tf.constant(vectors())
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.reduce_sum(model(x))
        slope = inner.gradient(y, x)
    with pytest.raises(NotImplementedError, match="subclass"):
        outer.gradient(slope, x)


class OtherCell(keras.layers.Layer):
    """A cell that has none of the options of Keras' cells."""

    state_size = (4, 4)

    def call(self, inputs: Any, states: Any) -> Any:
        return states[0], states


def with_cell(kind: str, cell: keras.layers.Layer) -> keras.layers.Layer:
    layer = CELLS[kind](4)
    layer.cell = cell
    return layer


def with_own_method(name: str) -> keras.layers.Layer:
    layer = keras.layers.LSTM(4)
    owner = layer.cell if name == "call" else layer
    setattr(owner, name, getattr(owner, name))
    return layer


@pytest.mark.parametrize(
    "layer",
    [
        lambda: with_cell("lstm", type("Own", (keras.layers.LSTMCell,), {})(4)),
        lambda: with_cell("gru", type("Own", (keras.layers.GRUCell,), {})(4)),
        lambda: with_cell("lstm", OtherCell()),
        lambda: with_cell("lstm", keras.layers.LSTMCell(4, dtype="float64")),
        lambda: with_own_method("call"),
        lambda: with_own_method("inner_loop"),
        lambda: keras.layers.LSTM(4, activation="relu"),
        lambda: keras.layers.LSTM(4, recurrent_activation="hard_sigmoid"),
        lambda: keras.layers.LSTM(4, dtype="mixed_bfloat16"),
        lambda: keras.layers.LSTM(4, dtype="float64"),
        lambda: keras.layers.LSTM(4, dropout=1.0),
        lambda: keras.layers.LSTM(4, recurrent_dropout=1.0),
        lambda: keras.layers.GRU(4, dropout=0.2, implementation=1, use_cudnn=False),
        lambda: keras.layers.LSTM(4, stateful=True),
        lambda: type("Own", (keras.layers.LSTM,), {})(4),
        lambda: keras.layers.GRU(4, reset_after=False),
        lambda: keras.layers.SimpleRNN(4),
    ],
)
def test_layer_outside_the_conditions_is_left_alone(
    layer: Callable[[], keras.layers.Layer],
) -> None:
    assert fuse(keras.Sequential([keras.Input((6, 3), batch_size=2), layer()])) == []


def test_model_for_xla_is_left_alone() -> None:
    model = layered(masked=False)
    model.compile("adam", "mse", jit_compile=True)
    assert fuse(model) == []


def test_saved_model_contains_the_stock_layer(tmp_path: Path) -> None:
    model = lstm_classifier(vocab_size=ROWS, embedding_dim=3, lstm_units=5, masked=True)
    layers = fuse(model)
    x = ids(n=4, length=6)
    expected = model.predict_on_batch(x)
    unfuse(layers)
    assert "inner_loop" not in vars(layers[0])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert [type(layer) for layer in loaded.layers] == [
        keras.layers.Embedding,
        keras.layers.LSTM,
        keras.layers.Dense,
    ]
    np.testing.assert_allclose(loaded.predict_on_batch(x), expected, atol=1e-6)


@pytest.mark.slow
def test_nothing_of_a_trained_model_is_kept() -> None:
    """TensorFlow keeps the functions of `tf.custom_gradient` until the process ends, and with them
    the graph and the memory of the kernel.
    """

    def kept() -> tuple[int, int]:
        keras.backend.clear_session()
        return sum(isinstance(o, Kernel) for o in gc.get_objects()), len(
            ops.gradient_registry.list()
        )

    before = kept()
    train_once()
    assert kept() == before


def train_once() -> tuple[keras.Model, FitResult]:
    def make(hp: Any) -> keras.Model:
        return lstm_classifier(vocab_size=ROWS, embedding_dim=2, lstm_units=2, masked=True)

    return run(make, epochs=1)


def test_training_fuses_its_model_and_restores_the_stock_layer() -> None:
    model, result = train_once()
    assert result.n_fused_layers == 1
    assert all("inner_loop" not in vars(layer) for layer in model.layers)
    assert "update_step" not in vars(model.optimizer)
