"""Raw-text models and the forms of an export, over architectures."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tuning.config import DataConfig
from tuning.datasets.sources import load_reviews
from tuning.datasets.splits import SplitReviews, split_reviews
from tuning.errors import ExportError
from tuning.forms import HOSTILE_TEXTS, parity, pipeline_probabilities, raw_text_model, write_forms
from tuning.models import lstm_classifier
from tuning.predict import FORMS
from tuning.vocabulary import Corpus, build_corpus

LENGTH, ROWS = 9, 40
TEXTS = [*HOSTILE_TEXTS, "the phone was great and lovely", "one two three four five six seven eight nine ten great broken"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    from tests.conftest import make_reviews

    folder = tmp_path_factory.mktemp("corpus")
    make_reviews().to_csv(folder / "r.csv", index=False)
    splits: SplitReviews = split_reviews(load_reviews(DataConfig(data=str(folder / "r.csv"))), seed=0)
    return build_corpus(folder / splits.fingerprint, splits)


def spread(model: keras.Model) -> keras.Model:
    """Larger weights, so that ids that differ give probabilities that differ."""
    keras.utils.set_random_seed(0)
    model.set_weights([w * 8 for w in model.get_weights()])
    return model


def bidirectional(n_classes: int) -> keras.Model:
    text = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(ROWS, 4, mask_zero=True)(text)
    x = keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True))(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(text, keras.layers.Dense(n_classes, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("truncating", ["pre", "post"])
@pytest.mark.parametrize("masked", [False, True])
def test_raw_text_model_equals_the_pipeline(corpus: Corpus, truncating: str, masked: bool) -> None:
    model = spread(lstm_classifier(vocab_size=ROWS, embedding_dim=4, lstm_units=3, masked=masked))
    words = corpus.words(ROWS)
    raw = raw_text_model(model, words=words, sequence_length=LENGTH, truncating=truncating)
    values = {"vocab_size": ROWS, "sequence_length": LENGTH, "truncating": truncating}
    expected = pipeline_probabilities(model, values, TEXTS, words=words, n_classes=2)
    found = raw.predict_on_batch(tf.constant(TEXTS))
    np.testing.assert_allclose(found[:, 0], expected[:, 1], atol=1e-6)
    assert len(np.unique(expected[:, 1].round(6))) > 4


def manifest(truncating: str = "pre", n_classes: int = 2) -> dict[str, Any]:
    names = [f"class {n}" for n in range(n_classes)]
    return {"class_names": names, "input": {"vocab_size": ROWS, "sequence_length": LENGTH, "truncating": truncating}}


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("kind", ["baseline", "masked", "bidirectional"])
def test_each_form_is_proven_or_left_out_with_its_reason(corpus: Corpus, tmp_path: Path, kind: str, n_classes: int) -> None:
    builders = {
        "baseline": lambda: lstm_classifier(vocab_size=ROWS, embedding_dim=4, lstm_units=3, n_classes=n_classes),
        "masked": lambda: lstm_classifier(vocab_size=ROWS, embedding_dim=4, lstm_units=3, masked=True, n_classes=n_classes),
        "bidirectional": lambda: bidirectional(n_classes),
    }
    model = spread(builders[kind]())
    values = {"vocab_size": ROWS, "sequence_length": LENGTH}
    written = write_forms(tmp_path, model, values, corpus, manifest(n_classes=n_classes), TEXTS)
    assert {"model.keras", "saved_model"} <= set(written["forms"])
    assert set(written["forms"]) | set(written["left_out"]) == set(FORMS.values())
    assert all(form["max_difference"] <= 1e-5 for form in written["forms"].values())
    assert all((tmp_path / name).exists() for name in written["forms"])
    assert not any((tmp_path / name).exists() for name in written["left_out"])
    # masked mean pooling divides by the number of tokens
    assert [limit for limit in written["limits"] if "''" in limit] == (["The model gives NaN for ''."] if kind == "bidirectional" else [])


@pytest.mark.slow
def test_parity_refuses_a_form_that_differs(corpus: Corpus, tmp_path: Path) -> None:
    model = spread(lstm_classifier(vocab_size=ROWS, embedding_dim=4, lstm_units=3))
    raw = raw_text_model(model, words=corpus.words(ROWS), sequence_length=LENGTH, truncating="pre")
    raw.save(tmp_path / "model.keras")
    with pytest.raises(ExportError, match="differs by"):
        parity(tmp_path, "keras", manifest(), TEXTS, np.full((len(TEXTS), 2), 0.5))


@pytest.mark.slow
def test_parity_refuses_a_form_that_can_not_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"model\.keras must be a model"):
        parity(tmp_path, "keras", manifest(), TEXTS, np.full((len(TEXTS), 2), 0.5))
