"""The products of an encoder's training equal Keras' own."""

import contextlib
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tuning.kernels import encoder, products
from tuning.kernels.products import OPTION, fast_products, n_contracted
from tuning.models import transformer_classifier

TOKENS = np.array([[3, 20, 25, 30, 4], [3, 4, 0, 0, 0], [3, 40, 4, 0, 0]], dtype=np.int32)
LABELS = np.array([[0.0], [1.0], [1.0]], np.float32)


def n_changed(model: keras.Model) -> int:
    return sum("call" in vars(layer) for layer in set(model._flatten_layers()))


@pytest.mark.parametrize(
    ("equation", "n"),
    [
        ("ab,bc->ac", 1),
        ("...x,xy->...y", 1),
        ("abc,bcd->abd", 0),  # the weights belong to a place in the text
        ("abc,cde->abed", 0),
        ("abc,dc->abd", 0),
    ],
)
def test_equation_of_one_product(equation: str, n: int) -> None:
    assert n_contracted(equation) == n


@pytest.mark.parametrize(
    ("equation", "shape", "bias_axes"),
    [
        ("abc,cde->abde", (None, 2, 3), None),
        ("abc,cde->abde", (None, 2, 3), "de"),
        ("abc,cde->abde", (None, 2, 3), "e"),
        ("abcd,cde->abe", (None, 5), "e"),
        ("abc,cd->abd", (None, 4), "d"),
    ],
)
def test_layer_gives_the_outputs_and_gradients_of_keras(
    equation: str, shape: tuple[int | None, ...], bias_axes: str | None
) -> None:
    n_axes = len(equation.split(",", maxsplit=1)[0]) - 1
    inputs = keras.Input((None, *range(3, 2 + n_axes)))
    layer = keras.layers.EinsumDense(
        equation, shape, bias_axes=bias_axes, activation="tanh", bias_initializer="normal"
    )
    model = keras.Model(inputs, layer(inputs))
    x = tf.random.stateless_normal((4, 6, *range(3, 2 + n_axes)), seed=(0, 1))

    def run() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x)
            loss = tf.reduce_sum(y * tf.cos(tf.cast(tf.range(tf.shape(y)[-1]), tf.float32)))
        return [y, *tape.gradient(loss, [x, *model.trainable_variables])]

    expected = run()
    with fast_products(model, on_bfloat16=list):
        assert n_changed(model) == 1
        own_values = run()
    for own, keras_own in zip(own_values, expected, strict=True):
        np.testing.assert_allclose(own, keras_own, rtol=1e-5, atol=1e-5)
    assert "call" not in vars(layer)


def test_other_layers_are_left_as_they_are() -> None:
    class Own(keras.layers.EinsumDense):
        def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
            return super().call(inputs) + 1

    inputs = keras.Input((6, 4))
    adapted = keras.layers.EinsumDense("abc,cd->abd", (6, 4))
    # This bias has the axis of the places in a text.
    biased = keras.layers.EinsumDense("abc,cd->abd", (6, 4), bias_axes="bd")
    model = keras.Model(inputs, biased(adapted(Own("abc,cd->abd", (6, 4))(inputs))))
    adapted.enable_lora(2)
    with fast_products(model, on_bfloat16=list):
        assert n_changed(model) == 0


def test_own_call_of_a_layer_is_kept() -> None:
    inputs, layer = keras.Input((6, 4)), keras.layers.EinsumDense("abc,cd->abd", (6, 4))
    model, own = keras.Model(inputs, layer(inputs)), lambda inputs, **_: inputs
    layer.call = own
    with fast_products(model, on_bfloat16=list):
        assert layer.call is own
    assert layer.call is own


def test_own_train_function_of_a_model_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "has_bfloat16", lambda: True)
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    own = model.make_train_function = lambda force=False: None
    with fast_products(model, on_bfloat16=list):
        assert model.make_train_function is own
    assert model.make_train_function is own


def test_model_with_xla_is_left_as_it_is(tiny_preset: Path) -> None:
    model = transformer_classifier(str(tiny_preset))
    model.jit_compile = True
    with fast_products(model, on_bfloat16=list):
        assert n_changed(model) == 0
        assert "make_train_function" not in vars(model)


@pytest.mark.slow
@pytest.mark.parametrize("has_instructions", [False, True])
def test_training_is_that_of_keras(
    tiny_preset: Path, has_instructions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queries, keys, values and outputs of two layers are computed in another way."""
    monkeypatch.setattr(products, "has_bfloat16", lambda: has_instructions)
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    outputs = []
    for is_fast in (False, True):
        keras.utils.set_random_seed(0)
        model = transformer_classifier(str(tiny_preset), dropout=0.0, learning_rate=1e-3)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        model.steps_per_execution = 3
        with fast_products(model, on_bfloat16=list) if is_fast else contextlib.nullcontext():
            # Eight products, and with instructions for bfloat16 the two layers that have them.
            assert n_changed(model) == (8 + 2 * has_instructions) * is_fast
            model.fit(TOKENS, LABELS, batch_size=1, epochs=3, verbose=0)
        outputs.append(model.predict_on_batch(TOKENS))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=2e-2 if has_instructions else 1e-5)


@pytest.mark.slow
def test_only_training_is_rounded(tiny_preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "has_bfloat16", lambda: True)
    monkeypatch.setattr(encoder, "fuse", lambda model, on_bfloat16: [])  # layers of another kind
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    model = transformer_classifier(str(tiny_preset))
    is_rounded: list[bool] = []

    def record() -> None:
        is_rounded.append(tf.config.optimizer.get_experimental_options().get(OPTION, False))

    class Recording(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            record()

    def data() -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors((TOKENS, LABELS))

    steps: list[str] = []
    with fast_products(model, on_bfloat16=lambda: steps.append("rounded")):
        model.make_train_function()
        train = model.train_function
        model.fit(data(), epochs=1, shuffle=False, verbose=0, callbacks=[Recording()])
        assert model.train_function is train
        monkeypatch.setattr(model, "train_step", lambda data: record() or {"loss": tf.zeros(())})
        model.run_eagerly = True
        model.make_train_function(force=True)
        model.fit(data(), epochs=1, shuffle=False, verbose=0)
    record()
    assert is_rounded == [False, True, False]
    assert steps == ["rounded"]
    assert model.train_function is None
    assert "make_train_function" not in vars(model)


@pytest.mark.slow
@pytest.mark.parametrize("has_onednn", [False, True])
def test_training_in_the_kernel_is_recorded(
    tiny_preset: Path, has_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "has_bfloat16", lambda: True)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", str(int(has_onednn)))
    model = transformer_classifier(str(tiny_preset))
    for _ in range(2):  # Folds train one model in several contexts.
        steps: list[str] = []
        with fast_products(model, on_bfloat16=lambda: steps.append("rounded")):  # noqa: B023
            model.predict_on_batch(TOKENS)
            assert steps == []
            model.fit(TOKENS, LABELS, batch_size=1, verbose=0)
        assert bool(steps) == has_onednn
        assert n_changed(model) == 0
