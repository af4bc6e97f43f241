"""What every builder of features must give, and what each gives alone."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from tests.models.classifiers import FEATURES, IDS, padded, spread
from tuning.export.onnx_graph import chain
from tuning.models import words_classifier
from tuning.training.architecture import ignores_padding


def tiny(name: str, *, n_classes: int = 2, **changes: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    features = partial(FEATURES[name], vocab_size=9, embedding_dim=3, **changes)
    return spread(words_classifier(features, n_classes=n_classes))


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize(("n_classes", "word_dropout"), [(2, 0.0), (3, 0.3)])
def test_output_is_the_same_with_more_padding(
    name: str, n_classes: int, word_dropout: float
) -> None:
    model = tiny(name, n_classes=n_classes, word_dropout=word_dropout)
    outputs = model.predict_on_batch(IDS)
    assert outputs.shape == ((len(IDS), 1) if n_classes == 2 else (len(IDS), n_classes))
    assert ignores_padding(model)
    np.testing.assert_allclose(model.predict_on_batch(padded(IDS)), outputs, atol=1e-6)
    assert len(np.unique(outputs[:, 0].round(5))) == len(IDS)
    assert np.isfinite(model.predict_on_batch(np.zeros((2, 5), np.int32))).all()


def test_filters_read_the_given_numbers_of_words() -> None:
    layers = tiny("cnn", widths=(1, 5)).layers
    kernels = [layer.kernel_size for layer in layers if isinstance(layer, keras.layers.Conv1D)]
    assert kernels == [(1,), (5,)]


def test_without_word_dropout_a_gru_is_a_chain_of_layers() -> None:
    layers = chain(tiny("gru"))
    assert [type(layer).__name__ for layer in layers or []] == ["Embedding", "GRU", "Dense"]
    assert chain(tiny("gru", word_dropout=0.1)) is None
