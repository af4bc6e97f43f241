"""The LSTM classifier: sizes, outputs, and the notebook's model."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.models.classifiers import IDS, padded
from tuning.models import lstm_classifier


def tiny(**changes: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    return lstm_classifier(**{"vocab_size": 9, "embedding_dim": 2, "lstm_units": 2, **changes})


def test_defaults_are_the_notebook_s_model() -> None:
    model = lstm_classifier(vocab_size=33_806, learning_rate=0.25)
    embedding, lstm, dense = model.layers
    assert model.count_params() == 682_937
    assert (embedding.output_dim, embedding.mask_zero) == (20, False)
    assert (lstm.units, lstm.dropout, lstm.recurrent_dropout) == (32, 0.2, 0.2)
    assert (dense.units, dense.activation.__name__) == (1, "sigmoid")
    assert model.input_shape == (None, None)
    assert float(model.optimizer.learning_rate) == 0.25


@pytest.mark.parametrize("masked", [True, False])
def test_masked_model_alone_skips_the_padding(masked: bool) -> None:
    model = tiny(masked=masked)
    changes = np.abs(model.predict_on_batch(padded(IDS)) - model.predict_on_batch(IDS))
    assert (changes.max() < 1e-6) == masked
