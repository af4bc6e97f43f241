"""A transformer layer with the kernel equals KerasHub's own."""

from collections.abc import Callable
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.python.framework import ops

from tuning.kernels import encoder, encoder_numba
from tuning.kernels.threads import set_threads

keras_hub = pytest.importorskip("keras_hub")

WIDTH, LENGTH = 24, 11
# Products of numbers in bfloat16, which has 8 binary digits.
TOLERANCE = 0.02


def tanh_gelu() -> Callable[..., Any]:
    return keras_hub.src.utils.keras_utils.gelu_approximate  # type: ignore[no-any-return]


def layer_of(**settings: Any) -> Any:
    given = {"dropout": 0.1, "activation": tanh_gelu(), "layer_norm_epsilon": 1e-12} | settings
    wide = keras.initializers.RandomNormal(0, 0.2)
    return keras_hub.layers.TransformerEncoder(
        48, 3, kernel_initializer=wide, bias_initializer=wide, **given
    )


def model_of(layer: Any, *, has_mask: bool = True) -> keras.Model:
    x, mask = keras.Input((None, WIDTH)), keras.Input((None,), dtype="int32")
    outputs = layer(x, padding_mask=mask) if has_mask else layer(x)
    return keras.Model([x, mask], outputs)


def texts(n: int = 9) -> tuple[tf.Tensor, tf.Tensor]:
    random = np.random.default_rng(0)
    lengths = random.integers(1, LENGTH + 1, n)[:, None]
    x = random.normal(size=(n, LENGTH, WIDTH)).astype(np.float32)
    return tf.constant(x), tf.constant(np.arange(LENGTH) < lengths, tf.int32)


def step(model: keras.Model, given: tuple[tf.Tensor, tf.Tensor], *, is_graph: bool = True) -> Any:
    """Return the outputs in training and the gradients of the input and of all weights."""
    for part in model._flatten_layers():
        for generator in getattr(part, "_seed_generators", []):
            generator.state.assign([1, 2])
    weight = np.random.default_rng(1).normal(size=given[0].shape).astype(np.float32)

    def run(x: tf.Tensor, mask: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model([x, mask], training=True)
            loss = tf.reduce_sum(y * weight)
        return y, tape.gradient(loss, [x, *(v.value for v in model.trainable_variables)])

    y, gradients = (tf.function(run) if is_graph else run)(*given)
    return [np.array(value) for value in (y, *gradients)]


def assert_step_is_that_of_keras(
    model: keras.Model, given: tuple[tf.Tensor, tf.Tensor], *, is_graph: bool = True
) -> None:
    expected = step(model, given, is_graph=is_graph)
    layers = encoder.fuse(model)
    own = step(model, given, is_graph=is_graph)
    encoder.unfuse(layers)
    assert not np.array_equal(own[0], expected[0])  # The kernel ran.
    for value, of_keras in zip(own, expected, strict=True):
        assert value.shape == of_keras.shape
        # The gradient of the bias of the keys is 0 but for rounding.
        scale = np.linalg.norm(of_keras) + np.sqrt(of_keras.size)
        assert np.linalg.norm(value - of_keras) < TOLERANCE * scale


@pytest.mark.parametrize("activation", ["gelu", "tanh"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize("is_graph", [False, True])
def test_training_has_the_outputs_and_gradients_of_keras(
    activation: str, dropout: float, has_mask: bool, is_graph: bool
) -> None:
    layer = layer_of(activation="gelu" if activation == "gelu" else tanh_gelu(), dropout=dropout)
    known = set(ops.gradient_registry.list())
    assert_step_is_that_of_keras(model_of(layer, has_mask=has_mask), texts(), is_graph=is_graph)
    assert "call" not in vars(layer)
    assert set(ops.gradient_registry.list()) == known


def test_prediction_is_that_of_keras() -> None:
    model = model_of(layer_of())
    expected = model.predict_on_batch(list(texts()))
    layers = encoder.fuse(model)
    assert np.array_equal(tf.function(model)(list(texts()), training=False), expected)
    encoder.unfuse(layers)


def test_static_shape_and_type_are_those_of_keras() -> None:
    layer = layer_of()
    model = model_of(layer)
    layers = encoder.fuse(model)
    shapes = []

    @tf.function(input_signature=[tf.TensorSpec((None, None, WIDTH)), tf.TensorSpec((7, 5, WIDTH))])
    def run(x: tf.Tensor, y: tf.Tensor) -> None:
        for tensor in (x, y):
            outputs = layer(tensor, training=True)
            shapes.append((outputs.shape.as_list(), outputs.dtype))

    run.get_concrete_function()
    encoder.unfuse(layers)
    assert shapes == [([None, None, WIDTH], tf.float32), ([7, 5, WIDTH], tf.float32)]


def test_masks_of_keras_and_of_attention_are_left_to_keras() -> None:
    layer = layer_of(dropout=0.0)
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, layer(keras.layers.Embedding(9, WIDTH, mask_zero=True)(ids)))
    attends = tf.linalg.band_part(tf.ones((4, LENGTH, LENGTH)), -1, 0)
    given = tf.constant([[1, 2, 0, 0], [3, 4, 5, 0]])

    def run() -> list[Any]:
        x = texts(4)[0]
        return [model(given, training=True), layer(x, attention_mask=attends, training=True)]

    expected = run()
    layers = encoder.fuse(model)
    own = run()
    encoder.unfuse(layers)
    for value, of_keras in zip(own, expected, strict=True):
        assert np.array_equal(value, of_keras)


def test_layer_that_is_called_twice_has_the_gradients_of_keras() -> None:
    layer = layer_of(dropout=0.0)
    x, mask = keras.Input((None, WIDTH)), keras.Input((None,), dtype="int32")
    model = keras.Model([x, mask], layer(layer(x, padding_mask=mask), padding_mask=mask))
    assert_step_is_that_of_keras(model, texts())


def test_values_do_not_depend_on_the_number_of_threads() -> None:
    model = model_of(layer_of())
    layers = encoder.fuse(model)
    steps = []
    for n_threads in (3, 1):
        set_threads(n_threads)
        steps.append(step(model, texts(21)))
    encoder.unfuse(layers)
    for first, second in zip(*steps, strict=True):
        assert np.array_equal(first, second)


def with_lora() -> Any:
    layer = layer_of()
    layer.build((None, None, WIDTH))
    layer._self_attention_layer._query_dense.enable_lora(2)
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: layer_of(normalize_first=True),
        lambda: layer_of(activation="relu"),
        lambda: layer_of(activation=None),
        lambda: layer_of(dtype="mixed_float16"),
        lambda: type("Own", (keras_hub.layers.TransformerEncoder,), {})(48, 3),
        with_lora,
        lambda: layer_of(dropout=1.0),
    ],
    ids=["normalize_first", "relu", "linear", "mixed_float16", "subclass", "lora", "dropout 1"],
)
def test_other_layers_are_left_as_they_are(make: Callable[[], Any]) -> None:
    assert encoder.fuse(model_of(make())) == []


@pytest.mark.parametrize("name", ["", "_feedforward_output_dense"], ids=["layer", "part"])
def test_own_call_of_a_layer_or_a_part_is_kept(name: str) -> None:
    model, own = model_of(layer := layer_of()), lambda inputs, **_: inputs
    changed = getattr(layer, name) if name else layer
    changed.call = own
    assert encoder.fuse(model) == []
    assert changed.call is own


def test_layer_of_two_axes_of_tokens_is_left_as_it_is() -> None:
    x = keras.Input((2, None, WIDTH))
    assert encoder.fuse(keras.Model(x, layer_of()(x))) == []


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_numbers_are_rounded_to_bfloat16_half_to_even(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    with np.errstate(all="ignore"):
        expected = values.astype(ml_dtypes.bfloat16)
    # The kernel rounds the normalization of rows of one column, gamma 0 and beta the value.
    rounded = np.empty((1, len(values)), np.uint16)
    zeros = np.zeros((1, len(values)), np.float32)
    encoder_numba.normalization(
        0, 1, np.zeros(zeros.shape, np.uint16), zeros[0], zeros, zeros[:0], np.float32(0),
        np.float32(1), zeros[0], values, zeros.copy(), zeros[0].copy(), zeros.copy(), rounded,
    )  # fmt: skip
    own = rounded[0].view(ml_dtypes.bfloat16)
    assert np.array_equal(own.astype(np.float32), expected.astype(np.float32), equal_nan=True)


@given(st.floats(-200, 200, width=32))
@pytest.mark.parametrize("is_exact", [False, True])
def test_gelu_is_that_of_keras(is_exact: bool, number: float) -> None:
    x = np.array([[number]], np.float32)
    bits, upstream = x.astype(ml_dtypes.bfloat16), np.ones((1, 1), ml_dtypes.bfloat16)
    outputs, d_x = np.empty((2, 1, 1), np.uint16)
    bias = np.zeros(1, np.float32)
    encoder_numba.gelu(0, 1, bits.view(np.uint16), bias, is_exact, outputs)
    given = upstream.view(np.uint16), bits.view(np.uint16), bias, is_exact
    encoder_numba.gelu_gradient(0, 1, *given, d_x, np.zeros(1, np.float32))
    v = tf.constant(bits.astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(v)
        y = keras.activations.gelu(v, approximate=not is_exact)
    for own, expected in ((outputs, y), (d_x, tape.gradient(y, v))):
        value = own.view(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_allclose(value, expected, rtol=0.005, atol=2e-6)


def test_diverged_training_stays_nan() -> None:
    model = model_of(layer_of())
    layers = encoder.fuse(model)
    x, mask = texts()
    y = model([x * np.nan, mask], training=True)
    encoder.unfuse(layers)
    assert np.isnan(y).all()


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_text_without_tokens_gets_what_keras_gives_it(dropout: float) -> None:
    x, mask = texts(2)
    given = x, tf.stack([mask[0], tf.zeros_like(mask[1])])
    assert_step_is_that_of_keras(model_of(layer_of(dropout=dropout)), given)


@pytest.mark.parametrize(
    "mask",
    [np.arange(LENGTH)[None] < 4, np.ones((9, 1)), np.linspace(0, 1.5, 9 * LENGTH).reshape(9, -1)],
    ids=["of one text", "of one token", "fractions"],
)
def test_mask_is_read_as_keras_reads_it(mask: Any) -> None:
    x, given = keras.Input((None, WIDTH)), keras.Input((None,))
    model = keras.Model([x, given], layer_of()(x, padding_mask=given))
    assert_step_is_that_of_keras(model, (texts()[0], tf.constant(mask, tf.float32)))


def test_gradient_of_a_weight_near_1_is_that_of_keras() -> None:
    scores, upstream = tf.constant([[8.0, 0], [0, 8]]), tf.constant([1, 0.5])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        y = tf.reduce_sum(tf.nn.softmax(scores) * upstream)
    attention = encoder.Operations().attention
    given = tf.cast(scores, tf.bfloat16)[None, None]
    with tf.GradientTape() as own_tape:
        own_tape.watch(given)
        weights = attention(given, tf.ones((1, 2), tf.bool), scale=1.0, dropout=None)
        own = tf.reduce_sum(tf.cast(weights, tf.float32) * upstream)
    gradient = tf.cast(own_tape.gradient(own, given), tf.float32)
    np.testing.assert_allclose(gradient[0, 0], tape.gradient(y, scores), rtol=0.02)


@pytest.mark.parametrize("is_graph", [False, True])
def test_second_derivative_is_refused(is_graph: bool) -> None:
    model = model_of(layer_of(dropout=0.0))
    layers = encoder.fuse(model)

    def run(x: tf.Tensor, mask: tf.Tensor) -> Any:
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(model([x, mask], training=True) ** 2)
            penalty = tf.reduce_sum(inner.gradient(loss, x) ** 2)
        return outer.gradient(penalty, x)

    with pytest.raises(NotImplementedError, match="set TF_ENABLE_ONEDNN_OPTS=0"):
        (tf.function(run) if is_graph else run)(*texts())
    encoder.unfuse(layers)
