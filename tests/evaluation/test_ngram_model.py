"""The linear model on n-grams, compared with scikit-learn on texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from tests.evaluation.ngrams import (
    LABELS,
    ORDERS,
    TEST,
    TEXTS,
    TRAIN,
    from_lists,
    ngrams_of,
    three_classes,
)
from tuning.evaluation import ngram_model
from tuning.evaluation.linear_reference import NgramSettings, Weighting
from tuning.evaluation.ngram_model import (
    columns_of,
    fit,
    indicators,
    log_count_ratios,
    weigh,
)

rows = st.lists(st.lists(st.integers(2, 7), unique=True, max_size=6), min_size=2, max_size=8)


def direct(
    is_positive: np.ndarray, *, order: int, weighting: Weighting, strength: float
) -> tuple[LogisticRegression, np.ndarray]:
    """Return a regression on texts as Wang and Manning describe it, and its inputs of the test
    texts. The regression is trained until it has converged.
    """
    vectorizer = CountVectorizer(ngram_range=(1, order), binary=True, token_pattern=r"\S+")
    train = vectorizer.fit_transform(TEXTS[0]).astype(float)
    test = vectorizer.transform(TEXTS[2]).astype(float)
    if weighting == Weighting.RATIOS:
        p, q = (1 + train[rows].toarray().sum(axis=0) for rows in (is_positive, ~is_positive))
        ratios = np.log((p / np.abs(p).sum()) / (q / np.abs(q).sum()))
        train, test = (normalize(matrix.multiply(ratios)) for matrix in (train, test))
    else:
        transformer = TfidfTransformer().fit(train)
        train, test = transformer.transform(train), transformer.transform(test)
    classifier = LogisticRegression(
        C=strength, solver="liblinear", dual=True, tol=1e-9, max_iter=100_000, random_state=0
    )
    return classifier.fit(train, is_positive), test


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("weighting", list(Weighting))
def test_model_equals_scikit_learn_on_texts(
    order: int, weighting: Weighting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngram_model, "TOLERANCE", 1e-9)
    columns = columns_of(ORDERS, order)
    model = fit(
        indicators(TRAIN, columns), LABELS[0], columns, NgramSettings(order, weighting, 3.0)
    )
    classifier, test = direct(LABELS[0] == 1, order=order, weighting=weighting, strength=3.0)
    assert model.probabilities(indicators(TEST, columns), n_classes=2) == pytest.approx(
        classifier.predict_proba(test), abs=1e-4
    )


@given(rows, st.data())
def test_ratios_have_their_properties(lists: list[list[int]], data: st.DataObject) -> None:
    """The ratios of the opposite classes are the negative ratios; an n-gram of positive texts alone
    has a larger ratio than an n-gram of negative texts alone; |p|₁ weights the ratios to a mean
    that is not below 0 (Gibbs' inequality); ids that are not among the columns have 0.
    """
    is_positive = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(lists), max_size=len(lists)))
    )
    columns = columns_of(np.array([0, 0, 1, 1, 1, 2, 2, 2], dtype=np.uint8), 2)
    matrix = indicators(from_lists(lists), columns)
    ratios = log_count_ratios(matrix, is_positive, columns)
    assert ratios == pytest.approx(-log_count_ratios(matrix, ~is_positive, columns))
    assert not ratios[:2].any()
    dense = matrix.toarray()
    p, q = dense[is_positive].sum(axis=0), dense[~is_positive].sum(axis=0)
    only_positive, only_negative = (p > 0) & (q == 0), (q > 0) & (p == 0)
    if only_positive.any() and only_negative.any():
        assert ratios[only_positive].min() > ratios[only_negative].max()
    weights = (1 + p[columns]) / (1 + p[columns]).sum()
    assert weights @ ratios[columns] >= -1e-12


@given(rows, st.lists(st.floats(-3, 3), min_size=8, max_size=8))
def test_rows_have_length_1_or_0(lists: list[list[int]], weights: list[float]) -> None:
    columns = np.array([False, False, *[True] * 6])
    matrix = indicators(from_lists(lists), columns)
    expected = matrix.toarray() * np.array(weights)
    lengths = np.sqrt((expected**2).sum(axis=1, keepdims=True))
    weighted_rows = weigh(matrix, np.array(weights)).toarray()
    assert weighted_rows * lengths == pytest.approx(expected, abs=1e-9)


def test_indicators_leave_out_longer_ngrams() -> None:
    texts, orders = from_lists([[2, 4], [], [3, 4, 5]]), np.array([0, 0, 1, 2, 1, 3])
    assert indicators(texts, columns_of(orders, 2)).toarray().tolist() == [
        [0, 0, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
    ]


def test_several_classes_are_each_against_the_rest() -> None:
    texts, labels = three_classes()
    (ngrams,), orders, vectorizer = ngrams_of(texts)
    columns = columns_of(orders, 1)
    matrix = indicators(ngrams, columns)
    model = fit(matrix, labels, columns, NgramSettings(1, Weighting.RATIOS, 10.0))
    assert len(model.regressions) == 3
    for label, regression in enumerate(model.regressions):
        expected = log_count_ratios(matrix, labels == label, columns)
        assert regression.weights == pytest.approx(expected)
    column = 2 + vectorizer.vocabulary_["odd"]
    signs = [np.sign(regression.weights[column]) for regression in model.regressions]
    assert signs == [-1, -1, 1]
    probabilities = model.probabilities(matrix, n_classes=4)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert probabilities.argmax(axis=1).tolist() == labels.tolist()
    assert not probabilities[:, 3].any()
