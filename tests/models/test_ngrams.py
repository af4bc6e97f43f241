"""The n-gram model: its logits, its log-count ratios, and the linear model that it starts at."""

from functools import partial

import keras
import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from tests.numbered import numbered
from tuning.evaluation.linear_reference import NgramSettings, Weighting
from tuning.evaluation.ngram_model import fit, indicators
from tuning.evaluation.references import Split
from tuning.inputs.contract import IdTexts
from tuning.models import (
    fit_linear_model,
    fit_ratios,
    mean_features,
    ngram_classifier,
    wide_deep_classifier,
)
from tuning.models import ngrams as module
from tuning.models.ngrams import LOGITS, RATIOS, WEIGHTINGS, WEIGHTS

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
    """The vocabulary may have more ids than the texts have n-grams."""
    labels = LABELS % n_classes
    model = ngram_classifier(vocab_size=ROWS + 50, n_classes=n_classes)
    # The widths of batches differ, because each is padded to its own longest text.
    fit_ratios(model, [NGRAMS[:2], NGRAMS[2:, :3]], labels, n_classes=n_classes)
    (ratios,) = model.get_layer(RATIOS).get_weights()
    classes = [1] if n_classes == 2 else range(n_classes)
    for column, label in enumerate(classes):
        np.testing.assert_allclose(ratios[2:ROWS, column], ratios_of(labels, label), rtol=1e-6)
    assert not ratios[:2].any() and not ratios[ROWS:].any()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_inverse_document_frequencies_are_those_of_scikit_learn(n_classes: int) -> None:
    model = ngram_classifier(vocab_size=ROWS + 50, n_classes=n_classes)
    fit_ratios(
        model,
        [NGRAMS[:2], NGRAMS[2:, :3]],
        LABELS % n_classes,
        n_classes=n_classes,
        weighting="inverse_document_frequencies",
    )
    (weights,) = model.get_layer(RATIOS).get_weights()
    contains = np.array([[n in row for n in range(2, ROWS)] for row in NGRAMS.tolist()])
    terms = TfidfTransformer(norm=None).fit_transform(contains).toarray()
    terms /= np.sqrt(np.mean(terms[terms > 0] ** 2))
    for column in weights.T:
        np.testing.assert_allclose(contains * column[2:ROWS], terms, rtol=1e-6)
    assert not weights[:2].any() and not weights[ROWS:].any()


def test_unknown_weighting_is_refused() -> None:
    with pytest.raises(ValueError, match="weighting must be one of"):
        fit_ratios(ngram_classifier(vocab_size=ROWS), [NGRAMS], LABELS % 2, weighting="tfidf")


def test_ratios_of_texts_without_ngrams_are_zero() -> None:
    model = ngram_classifier(vocab_size=ROWS)
    fit_ratios(model, [np.zeros((4, 2), np.int32)], np.array([0, 1, 0, 1]))
    assert not np.any(model.get_layer(RATIOS).get_weights())


def test_logit_is_the_sum_of_the_weights_over_the_root_of_their_number() -> None:
    model = ngram_classifier(vocab_size=ROWS)
    fit_ratios(model, [NGRAMS], LABELS % 2)
    ratios = np.concatenate([np.zeros(2), ratios_of(LABELS % 2, 1)])
    rows = [[n for n in row if n] for row in NGRAMS.tolist()]
    logits = np.array([ratios[row].sum() / np.sqrt(max(len(row), 1)) for row in rows])
    outputs = np.asarray(model.predict_on_batch(NGRAMS))[:, 0]
    np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-logits)), rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("weighting", Weighting)
def test_fitted_model_of_unit_length_is_the_tuned_linear_model(
    weighting: Weighting, n_classes: int
) -> None:
    """The same n-grams, C and weighting give the same logits, from which the linear model makes
    probabilities of several classes in another way, of the same order.

    As on folds, the vocabulary has n-grams that only held-out texts have.
    """
    texts, labels = random_texts(200, n_classes=n_classes)
    held_out = texts[150:]
    texts, labels = texts[:150], labels[:150]
    texts[texts % 5 == 4] = 0
    model = ngram_classifier(vocab_size=40, unit_length=True, n_classes=n_classes)
    own = WEIGHTINGS[weighting is Weighting.RARITY]
    fit_linear_model(
        model, [texts[:70], texts[70:]], labels, c=10.0, n_classes=n_classes, weighting=own
    )
    columns = np.arange(40) >= 2
    target = numbered(n_classes)
    rows, settings = Split(matrix_of(texts), labels), NgramSettings(1, weighting, 10.0)
    linear = fit(rows, columns, settings, target=target)
    both = np.concatenate([texts, held_out])
    expected = linear.predictions(matrix_of(both), target=target)
    outputs = np.asarray(model.predict_on_batch(both))
    if n_classes == 2:
        np.testing.assert_allclose(outputs[:, 0], expected[:, 1], atol=1e-5)
        return
    logits = keras.Model(model.inputs, model.get_layer(LOGITS).output).predict_on_batch(both)
    sigmoids = 1 / (1 + np.exp(-np.asarray(logits)))
    sigmoids /= sigmoids.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sigmoids, expected, atol=1e-5)
    np.testing.assert_array_equal(outputs.argmax(axis=1), expected.argmax(axis=1))


def matrix_of(texts: npt.NDArray[np.int32]) -> sparse.csr_matrix:
    ids, offsets = texts[texts != 0], np.cumsum([0, *np.count_nonzero(texts, axis=1)])
    return indicators(IdTexts(ids, offsets), np.arange(40) >= 2)


def test_text_without_ngrams_has_the_length_zero() -> None:
    model = ngram_classifier(vocab_size=ROWS, unit_length=True, n_classes=3)
    fit_ratios(model, [NGRAMS], LABELS, n_classes=3)
    outputs = model.predict_on_batch(np.zeros((1, 4), np.int32))
    np.testing.assert_allclose(outputs, 1 / 3, rtol=1e-6)


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


def random_texts(n: int, *, n_classes: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the n-grams of texts, and classes that depend on them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, n)
    texts = np.zeros((n, 9), np.int32)
    for row, label in enumerate(labels):
        ids = np.union1d(rng.choice(np.arange(2, 40), 6), 2 + label)
        texts[row, : len(ids)] = ids
    return texts, labels


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_model_starts_as_the_linear_model(
    n_classes: int, weighting: str, is_weighted: bool
) -> None:
    texts, labels = random_texts(200, n_classes=n_classes)
    weights = np.where(labels == 1, 3.0, 1.0) if is_weighted else None
    model = ngram_classifier(vocab_size=40, n_classes=n_classes)
    fit_linear_model(
        model,
        [texts[:70], texts[70:]],
        labels,
        c=10.0,
        n_classes=n_classes,
        weighting=weighting,
        # Only ratios of weights count.
        sample_weight=None if weights is None else (1000 * weights).astype(np.float32),
    )
    (ratios,) = model.get_layer(RATIOS).get_weights()
    expected = []
    weights = None if weights is None else weights / weights.mean()
    for column, label in enumerate([1] if n_classes == 2 else range(n_classes)):
        terms = np.zeros((200, 40))
        for row, ids in enumerate(texts):
            kept = ids[ids != 0]
            terms[row, kept] = ratios[kept, column] / np.sqrt(len(kept))
        exact = LogisticRegression(C=10.0, tol=1e-8, max_iter=10_000, solver="liblinear", dual=True)
        expected.append(exact.fit(terms, labels == label, weights).decision_function(terms))
    logits = keras.Model(model.inputs, model.get_layer(LOGITS).output).predict_on_batch(texts)
    np.testing.assert_allclose(logits, np.stack(expected, axis=1), atol=0.3)
    assert np.abs(logits).mean() > 1


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_texts_of_weight_zero_are_left_out_as_from_the_linear_reference(weighting: str) -> None:
    texts, labels = random_texts(120, n_classes=2)
    labels[100:] = 1 - labels[100:]
    weights = np.linspace(1, 3, 120, dtype=np.float32)
    weights[100:] = 0
    of_model = []
    for n in (100, 120):
        model = ngram_classifier(vocab_size=40, unit_length=True)
        fit_linear_model(
            model,
            [texts[:70], texts[70:n]],
            labels[:n],
            c=10.0,
            weighting=weighting,
            sample_weight=weights[:n],
        )
        of_model.append(model.predict_on_batch(texts))
    np.testing.assert_array_equal(*of_model)


def test_a_faster_rate_gives_the_same_start() -> None:
    texts, labels = random_texts(100, n_classes=2)
    features = partial(mean_features, vocab_size=40, embedding_dim=4)
    outputs = []
    for rate in (1.0, 7.0):
        keras.utils.set_random_seed(0)
        model = wide_deep_classifier(features, ngram_vocab_size=40, ngram_rate=rate)
        fit_linear_model(model, [{"ids": texts, "ngrams": texts}], labels, c=10.0, rate=rate)
        outputs.append(model.predict_on_batch({"ids": texts, "ngrams": texts}))
    np.testing.assert_allclose(*outputs, atol=1e-5)


def test_class_without_texts_starts_at_its_ratios() -> None:
    model = ngram_classifier(vocab_size=ROWS, n_classes=3)
    fit_linear_model(model, [NGRAMS], LABELS % 2, c=10.0, n_classes=3)
    (weights,) = model.get_layer(WEIGHTS).get_weights()
    assert weights[:, :2].any()
    assert not weights[:, 2].any()


def test_class_without_texts_is_improbable_with_weights_that_say_nothing_about_it() -> None:
    model = ngram_classifier(vocab_size=ROWS, n_classes=3)
    weighting = "inverse_document_frequencies"
    fit_linear_model(model, [NGRAMS], LABELS % 2, c=10.0, n_classes=3, weighting=weighting)
    outputs = np.asarray(model.predict_on_batch(NGRAMS))
    assert (outputs[:, 2] < outputs[:, :2].max(axis=1)).all()


def test_regression_reads_a_random_part_of_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FITTED_TEXTS", 30)
    texts, labels = random_texts(300, n_classes=2)
    order = np.argsort(labels, kind="stable")  # the first 30 texts are of one class
    model = ngram_classifier(vocab_size=40)
    fit_linear_model(model, [texts[order][:100], texts[order][100:]], labels[order], c=10.0)
    (weights,) = model.get_layer(WEIGHTS).get_weights()
    assert weights[2:4].any()
    (ratios,) = model.get_layer(RATIOS).get_weights()
    whole = ngram_classifier(vocab_size=40)
    fit_ratios(whole, [texts], labels)
    np.testing.assert_allclose(ratios, whole.get_layer(RATIOS).get_weights()[0])


@pytest.mark.parametrize("label", [0, 1])
def test_linear_model_of_texts_of_one_class_keeps_its_start(label: int) -> None:
    texts, labels = random_texts(60, n_classes=2)
    model = ngram_classifier(vocab_size=40)
    fit_linear_model(model, [texts], np.full_like(labels, label), c=10.0)
    outputs = model.predict_on_batch(texts)
    assert np.isfinite(outputs).all()
    assert not model.get_layer("ngram_weights").get_weights()[0].any()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_each_of_several_labels_starts_at_its_own_linear_model(weighting: str) -> None:
    """The third label has no text."""
    labels = np.stack([LABELS > 0, LABELS == 2, LABELS < 0], axis=1).astype(np.int64)
    model = ngram_classifier(vocab_size=ROWS, n_classes=3, multi_label=True, unit_length=True)
    fit_linear_model(model, [NGRAMS], labels, c=3.0, n_classes=3, weighting=weighting)
    for column, of_label in enumerate(labels.T):
        alone = ngram_classifier(vocab_size=ROWS, unit_length=True)
        fit_linear_model(alone, [NGRAMS], of_label, c=3.0, weighting=weighting)
        expected = alone.predict(NGRAMS, verbose=0)[:, 0]
        outputs = model.predict(NGRAMS, verbose=0)[:, column]
        np.testing.assert_allclose(outputs, expected, rtol=1e-5)
