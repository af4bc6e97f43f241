"""The fused kernel against Keras' own LSTM: outputs, gradients, weights after 50 steps, and the terms under which it runs."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tuning.config import TrainConfig
from tuning.models import lstm_classifier
from tuning.models.fused_lstm import fuse, unfuse
from tuning.training import fit, ignores_padding
from tuning.vocabulary import LabelledTexts, TokenizedTexts

ROWS = 30


def ids(*, n: int, length: int, full: bool = False, seed: int = 0) -> np.ndarray:
    """Right-padded ids; the first row is all padding unless `full`."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, ROWS, (n, length)).astype(np.int32)
    if not full:
        lengths = rng.integers(1, length + 1, n)
        lengths[0] = 0
        x[np.arange(length) >= lengths[:, None]] = 0
    return x


def labels(n: int) -> np.ndarray:
    return (np.arange(n) % 2).astype(np.float32)


def make(*, masked: bool, units: int = 5, dropout: float = 0.0, **options: object) -> keras.Model:
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    return lstm_classifier(
        vocab_size=ROWS, embedding_dim=3, lstm_units=units, dropout=dropout, recurrent_dropout=0.0, masked=masked, **options
    )


def pair(**options: object) -> tuple[keras.Model, keras.Model]:
    """The stock model, and one of the same weights with its LSTM fused."""
    stock, fused = make(**options), make(**options)
    assert len(fuse(fused, right_padded=True)) == 1
    return stock, fused


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("n", "length", "units"), [(1, 1, 1), (4, 7, 5), (3, 40, 16), (8, 12, 64)])
def test_outputs_are_those_of_keras(masked: bool, n: int, length: int, units: int) -> None:
    stock, fused = pair(masked=masked, units=units)
    x = ids(n=n, length=length)
    np.testing.assert_allclose(fused.predict_on_batch(x), stock.predict_on_batch(x), atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_keras(masked: bool) -> None:
    x, y = ids(n=6, length=9), labels(6)
    found = []
    for model in pair(masked=masked):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(y[:, None], model(x, training=False)))
        found.append([tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, [v.value for v in model.trainable_variables])])
    for stock, fused in zip(*found, strict=True):
        np.testing.assert_allclose(fused, stock, atol=1e-7)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_weights_after_50_steps_are_those_of_keras(masked: bool, dropout: float) -> None:
    x, y = ids(n=200, length=9), labels(200)
    found = []
    for fused in (False, True):
        model = make(masked=masked, dropout=dropout)
        if fused:
            fuse(model, right_padded=True)
        model.fit(x, y, batch_size=20, epochs=5, shuffle=False, verbose=0)
        found.append(model.get_weights())
    for stock, fused_weights in zip(*found, strict=True):
        np.testing.assert_allclose(fused_weights, stock, atol=1e-4)


def test_without_bias_is_that_of_keras() -> None:
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        return keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4, use_bias=False)])

    stock, fused = build(), build()
    assert fuse(fused, right_padded=False)
    x = np.random.default_rng(0).normal(size=(5, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(fused.predict_on_batch(x), stock.predict_on_batch(x), atol=1e-6)


def of(layer: Callable[[], keras.layers.Layer], **compile_options: object) -> keras.Model:
    model = keras.Sequential([keras.Input((None, 3)), layer()])
    model.compile("adam", "mse", **compile_options)
    return model


@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.LSTM(4, recurrent_dropout=0.1),
        lambda: keras.layers.LSTM(4, return_sequences=True),
        lambda: keras.layers.LSTM(4, go_backwards=True),
        lambda: keras.layers.LSTM(4, activation="relu"),
        lambda: keras.layers.LSTM(4, recurrent_activation="hard_sigmoid"),
        lambda: keras.layers.LSTM(4, dtype="mixed_bfloat16"),
        lambda: keras.layers.GRU(4),
    ],
)
def test_layer_outside_the_terms_is_left_alone(layer: Callable[[], keras.layers.Layer]) -> None:
    assert fuse(of(layer), right_padded=True) == []


def test_model_that_asks_for_xla_is_left_alone() -> None:
    assert fuse(of(lambda: keras.layers.LSTM(4), jit_compile=True), right_padded=True) == []


def test_mask_of_unknown_shape_is_left_alone() -> None:
    assert fuse(make(masked=True), right_padded=False) == []
    masking = keras.Sequential([keras.Input((None, 3)), keras.layers.Masking(), keras.layers.LSTM(4)])
    assert fuse(masking, right_padded=False) == []


def test_forward_half_of_a_bidirectional_is_fused_and_equal() -> None:
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Embedding(ROWS, 3, mask_zero=True), keras.layers.Bidirectional(keras.layers.LSTM(4)), keras.layers.Dense(1)]
        return keras.Sequential([keras.Input((None,), dtype="int32"), *layers])

    stock, fused = build(), build()
    assert ignores_padding(fused)
    assert [layer.go_backwards for layer in fuse(fused, right_padded=True)] == [False]
    x = ids(n=6, length=9)
    np.testing.assert_allclose(fused.predict_on_batch(x), stock.predict_on_batch(x), atol=1e-6)


def test_saved_model_holds_the_stock_layer(tmp_path: Path) -> None:
    model = make(masked=True)
    layers = fuse(model, right_padded=True)
    x = ids(n=4, length=6)
    expected = model.predict_on_batch(x)
    unfuse(layers)
    assert "inner_loop" not in vars(layers[0])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert [type(layer) for layer in loaded.layers] == [keras.layers.Embedding, keras.layers.LSTM, keras.layers.Dense]
    np.testing.assert_allclose(loaded.predict_on_batch(x), expected, atol=1e-6)


@pytest.mark.parametrize(("recurrent_dropout", "n_fused"), [(0.0, 1), (0.2, 0)])
def test_training_fuses_what_it_can_and_gives_the_stock_layer_back(recurrent_dropout: float, n_fused: int) -> None:
    import keras_tuner

    class Model(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            return lstm_classifier(vocab_size=ROWS, embedding_dim=2, lstm_units=2, recurrent_dropout=recurrent_dropout, masked=True)

    texts = TokenizedTexts(np.arange(200, dtype=np.int32) % 28 + 1, np.arange(0, 201, 5, dtype=np.int64))
    split = LabelledTexts(texts, np.arange(40) % 2)
    values = {"vocab_size": ROWS, "sequence_length": 5}
    model, result = fit(Model(), values, train=split, validation=split, n_classes=2, config=TrainConfig(epochs=1), seed=0)
    assert result.n_fused_layers == n_fused
    assert all("inner_loop" not in vars(layer) for layer in model.layers)
