"""The model builders: sizes, outputs, and the notebook's model."""

from typing import Any

import keras
import numpy as np
import pytest

from tuning.models import lstm_classifier

IDS = np.array([[2, 3, 4, 0], [5, 0, 0, 0], [1, 1, 1, 1]], dtype=np.int32)


def tiny(**changes: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    return lstm_classifier(**{"vocab_size": 6, "embedding_dim": 2, "lstm_units": 2, **changes})


@pytest.mark.parametrize(
    ("vocab_size", "n_parameters"),
    [(33_806, 682_937), (33_807, 682_957)],
    ids=["notebook", "with_unknown"],
)
def test_lstm_classifier_defaults_have_the_notebooks_parameters(
    vocab_size: int, n_parameters: int
) -> None:
    assert lstm_classifier(vocab_size=vocab_size).count_params() == n_parameters


def test_lstm_classifier_defaults_are_the_notebooks_layers() -> None:
    embedding, lstm, dense = lstm_classifier(vocab_size=10).layers
    assert (embedding.output_dim, embedding.mask_zero) == (20, False)
    assert (lstm.units, lstm.dropout, lstm.recurrent_dropout) == (32, 0.2, 0.2)
    assert (dense.units, dense.activation.__name__) == (1, "sigmoid")


def test_lstm_classifier_compiles_adam_with_the_learning_rate() -> None:
    optimizer = tiny(learning_rate=0.25).optimizer
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert float(optimizer.learning_rate) == 0.25


def test_lstm_classifier_two_classes_give_one_probability() -> None:
    model = tiny()
    outputs = model.predict_on_batch(IDS)
    assert model.loss == "binary_crossentropy"
    assert outputs.shape == (3, 1)
    assert ((outputs > 0) & (outputs < 1)).all()


def test_lstm_classifier_five_classes_give_softmax() -> None:
    model = tiny(n_classes=5)
    outputs = model.predict_on_batch(IDS)
    assert (model.loss, model.layers[-1].activation.__name__) == (
        "sparse_categorical_crossentropy",
        "softmax",
    )
    assert outputs.shape == (3, 5)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)


def test_lstm_classifier_masked_skips_the_padding() -> None:
    model = tiny(masked=True)
    longer = np.pad(IDS, ((0, 0), (0, 3)))
    np.testing.assert_allclose(
        model.predict_on_batch(longer), model.predict_on_batch(IDS), atol=1e-6
    )


def test_lstm_classifier_unmasked_reads_the_padding() -> None:
    model = tiny()
    longer = np.pad(IDS, ((0, 0), (0, 3)))
    assert np.abs(model.predict_on_batch(longer) - model.predict_on_batch(IDS)).max() > 1e-4


def test_lstm_classifier_takes_any_length() -> None:
    assert tiny().input_shape == (None, None)
