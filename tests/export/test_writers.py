"""Exports of an encoder, alone and beside n-grams: the tokenizer travels with the model."""

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.export.models import Reviews, predicted_alone, write_formats
from tests.models.classifiers import spread
from tests.presets import write_text_encoder
from tuning.errors import StudyError
from tuning.export.ensemble import average, common_input, mean_of_members
from tuning.export.formats import pipeline_probabilities
from tuning.export.writers import Source, with_encoder
from tuning.inference.runtimes import FORMATS, format_of, vocabularies
from tuning.inputs.contract import ModelInput
from tuning.inputs.preset_tokens import build_tokens
from tuning.models import (
    features_classifier,
    mean_features,
    ngram_classifier,
    transformer_classifier,
)
from tuning.spaces.ranges import Values
from tuning.templates import templates_of

NGRAMS = {"ngrams": 2, "ngram_vocab_size": 80}
WORDS = {"vocab_size": 300, "sequence_length": 24, "truncating": "middle"}
INPUT = ModelInput(vocab_size=0, sequence_length=24, truncating="middle", preset="tiny")


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned encoder, its configuration, and its data."""

    model: Any
    values: dict[str, Any]
    reviews: Reviews

    @property
    def source(self) -> Source:
        corpus = self.reviews.corpus
        return Source(self.model, self.values, corpus, corpus.target)


@pytest.fixture(
    scope="module",
    params=[
        "alone",
        "beside n-grams",
        "frozen beside n-grams",
        "frozen beside words and n-grams",
        "last layer beside n-grams",
    ],
)
def tuned(request: pytest.FixtureRequest, tiny_preset: Path, reviews: Reviews) -> Tuned:
    splits, corpus = reviews.splits, reviews.corpus
    texts = {name: frame["text"].tolist() for name, frame in splits.frames.items()}
    build_tokens(corpus, str(tiny_preset), texts=lambda: texts)
    values = {"preset": str(tiny_preset), "sequence_length": 24, "truncating": "middle"}
    if request.param.startswith(("frozen", "last layer")):
        values = {"preset": str(tiny_preset), "feature_length": 24}
    if "words" in request.param:
        values |= WORDS
    if request.param == "last layer beside n-grams":
        values["trained_layers"] = 1
    if request.param != "alone":
        values |= NGRAMS
    return Tuned(encoder(tiny_preset, values), values, reviews)


def encoder(preset: Path, values: Values) -> keras.Model:
    """Return an encoder, with n-grams if the configuration has them."""
    # With these initial weights the probabilities of the texts differ by more than 0.8.
    keras.utils.set_random_seed(4)
    rows = int(values.get("ngram_vocab_size", 0))
    build: Any = partial(transformer_classifier, trained_layers=values.get("trained_layers", 0))
    if "feature_length" in values and "trained_layers" not in values:
        words = partial(mean_features, vocab_size=300, embedding_dim=4)
        build = partial(features_classifier, words=words if "vocab_size" in values else None)
    model = spread(build(str(preset), ngram_vocab_size=rows))
    if rows:
        weigh_ngrams(model)
    return model


def weigh_ngrams(model: keras.Model) -> None:
    """Set the weights of n-grams as `fit_linear_model` would."""
    (weights,) = model.get_layer("ngram_weights").get_weights()
    draw = np.random.default_rng(1).normal(0, 2, weights.shape)
    model.get_layer("ngram_weights").set_weights([draw])
    model.get_layer("ngram_logits").set_weights([np.ones((1, 1)), np.zeros(1)])


@pytest.mark.slow
def test_every_format_gives_the_pipeline_s_probabilities(tuned: Tuned, tmp_path: Path) -> None:
    """The parity check has compared the formats."""
    result = write_formats(tmp_path, tuned.source, tuned.reviews)
    assert {*result.forms} == {known.path for known in FORMATS.values()}, result.left_out
    onnx = result.forms["model.onnx"]
    assert onnx.max_difference <= 1e-5
    assert (onnx.takes, onnx.needs) == ("token ids", ["onnxruntime", "tokenizers"])
    ngrams = NGRAMS if "ngrams" in tuned.values else {}
    inputs = with_encoder(tuned.source).inputs
    preset = {"preset": tuned.values["preset"], "sequence_length": 24, "truncating": "middle"}
    vocab_size = tuned.values.get("vocab_size", 0)
    assert inputs == ModelInput(vocab_size=vocab_size, **preset, **ngrams)
    names = {"tokenizer.json", *(["ngrams.txt"] if ngrams else [])}
    assert set(vocabularies(inputs)) == names | ({"vocabulary.txt"} if vocab_size else set())
    texts = ["great phone", "[SEP] awful [PAD]", ""]
    expected = pipeline_probabilities(tuned.source, texts)
    np.testing.assert_allclose(predicted_alone(tmp_path, tuned.source, texts), expected, atol=1e-5)
    if ngrams:
        assert_snippets_run(tmp_path, tuned)


def assert_snippets_run(folder: Path, tuned: Tuned) -> None:
    """Run the code of the model card for each template. `model.h5` has that of `model.keras`."""
    snippets = templates_of("tuning.export").get_template("snippets.md").module
    target = tuned.source.target
    codes = {
        "keras": snippets.keras_of_ids(FORMATS["keras"].path, target),
        "saved_model": snippets.saved_model_of_ids(FORMATS["saved_model"].path, target),
    }
    own = pipeline_probabilities(tuned.source, ["I love it", "It broke after a day"])
    for name, code in codes.items():
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        numbers = [float(number) for number in re.findall(r"\d\.\d+(?:e-\d+)?", done.stdout)]
        assert numbers[0] == pytest.approx(own[0, -1 if name == "keras" else 0], abs=0.05)


def test_formats_of_an_encoder_take_tokens_and_need_the_tokenizer() -> None:
    assert {name: format_of(name, INPUT).needs for name in FORMATS} == {
        "keras": ("tensorflow", "keras", "keras_hub", "tokenizers"),
        "saved_model": ("tensorflow", "tokenizers"),
        "h5": ("tensorflow", "keras", "keras_hub", "tokenizers"),
        "onnx": ("onnxruntime", "tokenizers"),
    }
    assert {format_of(name, INPUT).takes for name in FORMATS} == {"token ids"}


@pytest.mark.slow
def test_every_format_carries_an_ensemble_of_encoders_and_ngrams(
    tuned: Tuned, tmp_path: Path
) -> None:
    """The members take the tokens of one preset, n-grams of unlike orders, or both. The first
    member beside one that trains an encoder's last layer has an encoder that is not trained.
    """
    if "ngrams" not in tuned.values:
        pytest.skip("the last member takes n-grams")
    others = (*NGRAMS, "trained_layers")
    alone = {name: value for name, value in tuned.values.items() if name not in others}
    ngrams: Values = {"ngrams": 3, "ngram_vocab_size": 120}
    linear = spread(ngram_classifier(vocab_size=120))
    preset = Path(str(alone["preset"]))
    made = [(encoder(preset, alone), alone), (linear, ngrams), (tuned.model, tuned.values)]
    corpus, texts = tuned.reviews.corpus, tuned.reviews.test_texts
    members = [Source(model, values, corpus, corpus.target) for model, values in made]
    weights = (0.5, 0.3, 0.2)
    joined = average(members, weights)
    assert joined.inputs == common_input([source.inputs for source in members], corpus)
    expected = mean_of_members(members, weights, texts)
    np.testing.assert_allclose(pipeline_probabilities(joined, texts), expected, atol=1e-5)
    written = write_formats(tmp_path, joined, tuned.reviews)
    assert set(written.forms) == {known.path for known in FORMATS.values()}, written.left_out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_model_of_a_dictionary_of_unnamed_inputs_is_exported(tuned: Tuned, tmp_path: Path) -> None:
    if "ngrams" not in tuned.values or "feature_length" in tuned.values:
        pytest.skip("the model has other inputs")
    tokens, ngrams = (keras.Input((None,), dtype="int32") for _ in range(2))
    words = keras.layers.Embedding(200, 4, mask_zero=True)(tokens)
    phrases = keras.layers.Embedding(NGRAMS["ngram_vocab_size"], 4)(ngrams)
    both = keras.layers.Concatenate()(
        [
            keras.layers.GlobalAveragePooling1D()(words),
            keras.layers.GlobalMaxPooling1D()(phrases),
        ]
    )
    output = keras.layers.Dense(1, activation="sigmoid")(both)
    model = spread(keras.Model({"tokens": tokens, "ngrams": ngrams}, output))
    result = write_formats(tmp_path, replace(tuned.source, model=model), tuned.reviews)
    assert {"model.keras", "model.h5", "saved_model", "model.onnx"} <= set(result.forms), (
        result.left_out
    )


@pytest.mark.slow
def test_keras_model_is_exported_below_its_head_and_takes_texts(
    reviews: Reviews, tmp_path: Path
) -> None:
    path = write_text_encoder(tmp_path / "encoder.keras", column=True)
    values = {"preset": str(path), "feature_length": 24, **WORDS, **NGRAMS}
    values |= {"sequence_length": 9, "truncating": "pre"}  # The encoder has no length.
    corpus = reviews.corpus
    source = Source(encoder(path, values), values, corpus, corpus.target)
    result = write_formats(tmp_path, source, reviews)
    assert {name: form.takes for name, form in result.forms.items()} == dict.fromkeys(
        ("model.keras", "saved_model"), "raw text"
    )
    assert with_encoder(source).inputs == source.inputs.exported


def test_tokens_of_two_presets_form_no_ensemble(reviews: Reviews) -> None:
    other = replace(INPUT, preset="other")
    with pytest.raises(StudyError, match="the tokens of one preset"):
        common_input([INPUT, other], reviews.corpus)
    with pytest.raises(StudyError, match="the tokens of one preset"):
        common_input([INPUT, replace(INPUT, preset="", vocab_size=50)], reviews.corpus)
