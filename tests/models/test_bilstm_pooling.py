"""A bidirectional LSTM, pooled over the words."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.models.classifiers import IDS, classifier, padded, spread
from tuning.kernels.fuse import fused
from tuning.models import bilstm_features
from tuning.training.architecture import ignores_padding


def tiny(**changes: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    sizes = {"vocab_size": 9, "embedding_dim": 3, "lstm_units": 2}
    return spread(classifier(bilstm_features, **{**sizes, **changes}))


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
        "Bidirectional",
        "Dense",
    ]


def test_both_directions_run_in_the_kernel_and_give_what_keras_gives() -> None:
    model = tiny()
    expected = model.predict_on_batch(IDS)
    with fused(model) as n_layers:
        assert n_layers == 2
        outputs = model(IDS, training=False)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
