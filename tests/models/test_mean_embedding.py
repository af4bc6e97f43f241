"""The mean of word embeddings."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.models.classifiers import IDS, classifier, padded, spread
from tuning.models import mean_features
from tuning.training.architecture import ignores_padding


def tiny(**changes: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    sizes = {"vocab_size": 9, "embedding_dim": 3}
    return spread(classifier(mean_features, **{**sizes, **changes}))


@pytest.mark.parametrize(("n_classes", "word_dropout"), [(2, 0.0), (3, 0.3)])
def test_output_is_the_same_with_more_padding(n_classes: int, word_dropout: float) -> None:
    model = tiny(n_classes=n_classes, word_dropout=word_dropout)
    outputs = model.predict_on_batch(IDS)
    assert outputs.shape == ((len(IDS), 1) if n_classes == 2 else (len(IDS), n_classes))
    assert ignores_padding(model)
    np.testing.assert_allclose(model.predict_on_batch(padded(IDS)), outputs, atol=1e-6)
    assert len(np.unique(outputs[:, 0].round(5))) == len(IDS)


def test_text_without_words_has_probabilities() -> None:
    assert np.isfinite(tiny().predict_on_batch(np.zeros((2, 5), np.int32))).all()


def test_layers_are_those_of_the_source() -> None:
    model = tiny()
    assert [type(layer).__name__ for layer in model.layers if layer.weights] == [
        "Embedding",
        "Dense",
    ]


def test_order_of_the_words_makes_no_difference() -> None:
    model = tiny()
    ids, reordered_ids = np.array([[2, 3, 4]], np.int32), np.array([[4, 2, 3]], np.int32)
    np.testing.assert_allclose(
        model.predict_on_batch(ids), model.predict_on_batch(reordered_ids), atol=1e-6
    )
