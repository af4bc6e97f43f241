"""The n-gram model: its logits, and its log-count ratios."""

import keras
import numpy as np
import numpy.typing as npt
import pytest

from tuning.models import fit_ratios, ngram_classifier
from tuning.models.ngrams import RATIOS

ROWS = 7
NGRAMS = np.array(
    [[2, 3, 0, 0], [2, 4, 5, 6], [3, 0, 0, 0], [2, 3, 5, 0], [6, 0, 0, 0], [0, 0, 0, 0]], np.int32
)
LABELS = np.array([0, 1, 2, 1, 2, 0])


def ratios_of(labels: npt.NDArray[np.int64], label: int) -> npt.NDArray[np.float64]:
    """Return the log-count ratios of the ids from 2 on, from their definition."""
    contains = np.array([[n in row for n in range(2, ROWS)] for row in NGRAMS.tolist()])
    p = 1 + contains[labels == label].sum(axis=0)
    q = 1 + contains[labels != label].sum(axis=0)
    return np.log((p / p.sum()) / (q / q.sum()))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_ratios_are_those_of_wang_and_manning(n_classes: int) -> None:
    labels = LABELS % n_classes
    model = ngram_classifier(vocab_size=ROWS, n_classes=n_classes)
    # The widths of batches differ, because each is padded to its own longest text.
    fit_ratios(model, [NGRAMS[:2], NGRAMS[2:, :3]], labels, n_classes=n_classes)
    (ratios,) = model.get_layer(RATIOS).get_weights()
    classes = [1] if n_classes == 2 else range(n_classes)
    for column, label in enumerate(classes):
        np.testing.assert_allclose(ratios[2:, column], ratios_of(labels, label), rtol=1e-6)
    assert not ratios[:2].any()


def test_logit_is_the_sum_of_the_weights_over_the_root_of_their_number() -> None:
    model = ngram_classifier(vocab_size=ROWS)
    fit_ratios(model, [NGRAMS], LABELS % 2)
    ratios = np.concatenate([np.zeros(2), ratios_of(LABELS % 2, 1)])
    rows = [[n for n in row if n] for row in NGRAMS.tolist()]
    logits = np.array([ratios[row].sum() / np.sqrt(max(len(row), 1)) for row in rows])
    outputs = np.asarray(model.predict_on_batch(NGRAMS))[:, 0]
    np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-logits)), rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_output_does_not_depend_on_the_padding_or_on_the_order(n_classes: int) -> None:
    model = ngram_classifier(vocab_size=ROWS, n_classes=n_classes)
    fit_ratios(model, [NGRAMS], LABELS % n_classes, n_classes=n_classes)
    expected = np.asarray(model.predict_on_batch(NGRAMS))
    padded = np.pad(NGRAMS, [(0, 0), (2, 5)])[:, ::-1]
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(padded)), expected, atol=1e-6)
    np.testing.assert_allclose(
        expected.sum(axis=1) if n_classes > 2 else 1, 1, atol=1e-6
    )  # probabilities


def test_ratios_are_not_trained_and_the_factors_are() -> None:
    keras.utils.set_random_seed(0)
    model = ngram_classifier(vocab_size=ROWS, dropout=0.5)
    fit_ratios(model, [NGRAMS], LABELS % 2)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    model.fit(NGRAMS, (LABELS % 2)[:, None].astype(np.float32), epochs=3, verbose=0)
    same = {
        name: all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
        for name, old in before.items()
        for new in [model.get_layer(name).get_weights()]
    }
    assert same == {RATIOS: True, "ngram_weights": False, "ngram_logits": False}
