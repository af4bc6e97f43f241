"""A pretrained encoder, fine-tuned: its outputs, frozen layers and learning rate."""

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.classifiers import padded, spread
from tests.presets import write_text_encoder
from tuning.errors import SpaceError
from tuning.models import (
    encoder_width,
    features_classifier,
    fit_linear_model,
    fit_schedule,
    mean_features,
    transformer_classifier,
)
from tuning.models.transformer import WarmUp, frozen_encoder, load_encoder

pytest.importorskip("keras_hub", reason="the extra `pretrained` is not installed")

TOKENS = np.array([[3, 20, 25, 30, 4], [3, 4, 0, 0, 0], [3, 40, 4, 0, 0]], dtype=np.int32)


def test_output_does_not_depend_on_the_padding(tiny_preset: Path) -> None:
    model = spread(transformer_classifier(str(tiny_preset)))
    outputs = model.predict_on_batch(TOKENS)
    assert np.ptp(outputs) > 0.001
    np.testing.assert_allclose(model.predict_on_batch(padded(TOKENS)), outputs, atol=1e-5)
    alone = model.predict_on_batch(TOKENS[1:2, :2])
    np.testing.assert_allclose(alone, outputs[1:2], atol=1e-5)


def test_encoder_has_the_weights_of_the_preset(tiny_preset: Path) -> None:
    import keras_hub

    expected = keras_hub.models.Backbone.from_preset(str(tiny_preset))
    ids = {
        "token_ids": TOKENS,
        "padding_mask": np.ones_like(TOKENS),
        "segment_ids": np.zeros_like(TOKENS),
    }
    encoder = load_encoder(str(tiny_preset))
    np.testing.assert_array_equal(encoder(ids), expected(ids)["sequence_output"])
    assert not [weight for weight in encoder.weights if "pooled" in weight.path]


@pytest.mark.parametrize(
    ("share", "frozen"),
    [(0.2, set()), (0.5, {"embedding", "layer_0"}), (1.0, {"embedding", "layer_0", "layer_1"})],
)
def test_lowest_layers_are_frozen(tiny_preset: Path, share: float, frozen: set[str]) -> None:
    model = transformer_classifier(str(tiny_preset), frozen_share=share)
    paths = " ".join(w.path for w in model.non_trainable_weights if "seed" not in w.path)
    assert {name for name in ("embedding", "layer_0", "layer_1") if name in paths} == frozen


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_last_layers_give_what_the_whole_encoder_gives_with_its_gradients(
    tiny_preset: Path, n_layers: int
) -> None:
    """The encoder has two layers."""
    preset, targets = str(tiny_preset), np.array([[1.0], [0.0], [1.0]], np.float32)
    whole = transformer_classifier(preset, frozen_share=max(1 - n_layers / 2, 0.0))
    part = transformer_classifier(preset, trained_layers=n_layers)
    heads = [next(layer for layer in m.layers if "dense" in layer.name) for m in (whole, part)]
    heads[1].set_weights(heads[0].get_weights())
    vectors = frozen_encoder(preset, without=n_layers)(TOKENS)
    assert (vectors.numpy() != 0).any(axis=2).tolist() == (TOKENS != 0).tolist()
    seen = []
    for model, x in ((whole, TOKENS), (part, vectors)):
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = model(x, training=False)
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(targets, outputs))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        names = [v.path if "layer" in v.path else v.name for v in variables]  # but for the head
        seen.append((outputs, dict(zip(names, gradients, strict=True))))
    (expected, of_whole), (outputs, of_part) = seen
    assert (outputs.dtype, vectors.dtype) == (expected.dtype, tf.float32)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert {*of_whole} - {*of_part} == {name for name in of_whole if "embeddings" in name}
    assert len(of_part) == 2 + 16 * min(n_layers, 2)
    for name, gradient in of_part.items():
        assert gradient.dtype == of_whole[name].dtype
        np.testing.assert_allclose(gradient, of_whole[name], atol=1e-6)


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    return np.log(probabilities) - np.log(1 - probabilities)


NGRAM_IDS = np.array([[2, 3, 0], [4, 0, 0], [2, 5, 6]], dtype=np.int32)


@pytest.mark.slow
def test_ngrams_vote_in_predictions_and_do_not_change_the_training(tiny_preset: Path) -> None:
    trained = []
    for rows in (0, 9):
        keras.utils.set_random_seed(0)
        model = transformer_classifier(
            str(tiny_preset), ngram_vocab_size=rows, ngram_share=0.3, learning_rate=0.01
        )
        x: dict[str, np.ndarray] | np.ndarray = TOKENS
        if rows:
            fit_linear_model(model, [NGRAM_IDS], np.array([1, 0, 1]), c=10.0)
            x = {"tokens": TOKENS, "ngrams": NGRAM_IDS}
        model.fit(x, np.array([[1.0], [0.0], [1.0]]), epochs=2, shuffle=False, verbose=0)
        trained.append((model, x))
    (alone, tokens), (beside, both) = trained
    (encoder_alone, encoder_beside) = (
        next(layer for layer in model.layers if "backbone" in layer.name)
        for model in (alone, beside)
    )
    for own, other in zip(encoder_beside.weights, encoder_alone.weights, strict=True):
        if "seed" not in own.path:
            np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    linear = keras.Model(beside.inputs, beside.get_layer("ngram_logits").output)
    outputs = logits_of(beside.predict_on_batch(both))
    deep = logits_of(alone.predict_on_batch(tokens))
    np.testing.assert_allclose(outputs, 0.7 * deep + 0.3 * linear(both).numpy(), atol=1e-4)
    assert np.ptp(linear(both)) > 0.5


def test_learning_rate_rises_and_falls_to_zero() -> None:
    schedule = WarmUp(1.0, epochs=2, warm_up=0.25)
    assert float(schedule(7)) == 1.0  # until the number of steps is known
    schedule.steps_per_epoch.assign(10)
    learning_rates = [float(schedule(step)) for step in range(22)]
    assert learning_rates[:5] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert learning_rates[5:20] == pytest.approx([(19.5 - step) / 15 for step in range(5, 20)])
    assert learning_rates[20:] == [0.0, 0.0]


def test_schedule_round_trips_through_its_configuration() -> None:
    schedule = WarmUp(0.5, epochs=3, warm_up=0.2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()


def test_optimizer_has_the_number_of_steps_among_its_variables(tiny_preset: Path) -> None:
    model = transformer_classifier(str(tiny_preset), learning_rate=0.5, epochs=2)
    fit_schedule(model, n_texts=101, batch_size=10)
    steps = [v for v in model.optimizer.variables if "steps_per_epoch" in v.path]
    assert [float(v) for v in steps] == [11.0]
    assert float(model.optimizer.learning_rate) == pytest.approx(0.5 * 0.5 / 2.2)


@pytest.mark.parametrize(("n_classes", "n_columns"), [(2, 1), (3, 3)])
def test_head_of_features_beside_ngrams(tiny_preset: Path, n_classes: int, n_columns: int) -> None:
    model = features_classifier(
        str(tiny_preset), units=4, ngram_vocab_size=9, ngram_share=0.5, n_classes=n_classes
    )
    assert [tensor.shape for tensor in model.inputs] == [(None, 16), (None, None)]
    features = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    outputs = np.asarray(model([features, NGRAM_IDS]))
    assert outputs.shape == (3, n_columns)
    fit_linear_model(
        model, [{"ngrams": NGRAM_IDS}], np.array([1, 0, n_classes - 1]), c=10.0, n_classes=n_classes
    )
    assert np.abs(np.asarray(model([features, NGRAM_IDS])) - outputs).max() > 0.01


def test_head_of_features_reads_the_words_beside_them(tiny_preset: Path) -> None:
    words = partial(mean_features, vocab_size=9, embedding_dim=4)
    model = spread(features_classifier(str(tiny_preset), words=words, ngram_vocab_size=9))
    assert [tensor.name for tensor in model.inputs] == ["features", "ids", "ngrams"]
    features = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    outputs = model.predict_on_batch([features, NGRAM_IDS, NGRAM_IDS])
    again = model.predict_on_batch([features, padded(NGRAM_IDS), NGRAM_IDS])
    np.testing.assert_allclose(again, outputs, atol=1e-6)
    other = model.predict_on_batch([features, NGRAM_IDS[::-1], NGRAM_IDS])
    assert np.abs(other - outputs).max() > 0.001


def test_width_of_a_preset_is_read_without_its_weights(tiny_preset: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    expected = random.random()
    keras.utils.set_random_seed(0)
    assert encoder_width(str(tiny_preset)) == 16
    sizes = ("num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    config = {"model_type": "bert", "hidden_size": 12, "max_position_embeddings": 9}
    (tmp_path / "config.json").write_text(json.dumps(config | dict.fromkeys(sizes, 2)))
    assert encoder_width(str(tmp_path)) == 12
    assert random.random() == expected  # The seeds of the model's layers are drawn there.


@keras.saving.register_keras_serializable("tests")
class Own(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x


def write_vectorization(path: Path, *layers: keras.layers.Layer) -> None:
    text = keras.Input((), dtype="string")
    first = keras.layers.TextVectorization(vocabulary=["a"])
    keras.Sequential([text, first, *layers]).save(path)


def write_keras_hub_layer(path: Path) -> None:
    import keras_hub

    positions = keras_hub.layers.SinePositionEncoding()
    pool = keras.layers.GlobalAveragePooling1D()
    write_vectorization(path, keras.layers.Embedding(9, 2), positions, pool)


def write_own_layer(path: Path) -> None:
    write_vectorization(path, Own())
    del keras.saving.get_custom_objects()["tests>Own"]  # Another process does not know the class.


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (partial(write_text_encoder, pool=False), "its outputs .*'float32', None, 6.* pools its"),
        (write_vectorization, r"its outputs \[\('int64', None\)\]"),
        (write_keras_hub_layer, "Keras' own; .* has a SinePositionEncoding of keras_hub"),
        (lambda path: tokens_model().save(path), "inputs of .* are .*'int32', None"),
        (write_own_layer, "Keras' own; loading .* gave TypeError"),
        (lambda path: path.write_bytes(b"damaged"), "loading .*e.keras"),
        (lambda path: None, "loading .*e.keras"),
    ],
)
def test_keras_model_must_take_a_text_and_give_a_vector(
    write: Any, says: str, tmp_path: Path
) -> None:
    write(tmp_path / "e.keras")
    with pytest.raises(SpaceError, match=says):
        frozen_encoder(str(tmp_path / "e.keras"))


def tokens_model() -> keras.Model:
    ids = keras.Input((None,), dtype="int32")
    return keras.Model(
        ids, keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 2)(ids))
    )


def test_preset_that_can_not_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="must be able to load the preset"):
        load_encoder(str(tmp_path))
