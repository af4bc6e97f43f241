"""The linear model on n-grams, compared with scikit-learn on texts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from tests.texts import make_reviews
from tuning.data.corpus import NgramTexts, TokenizedTexts
from tuning.evaluation import ngram_model
from tuning.evaluation.ngram_model import (
    FIRST_STRENGTH,
    STRENGTHS,
    NgramSettings,
    Weighting,
    columns_of,
    fit,
    indicators,
    log_count_ratios,
    ngram_reference,
    tune_ngram_model,
    weigh,
)

REVIEWS = [make_reviews(n, seed=seed) for seed, n in enumerate((200, 60, 60))]
TEXTS = [frame["review_body"].tolist() for frame in REVIEWS]
LABELS = [(frame["star_rating"] >= 3).to_numpy().astype(np.int64) for frame in REVIEWS]


def tokenized(counts: sparse.csr_matrix) -> TokenizedTexts:
    """Return the columns of each row as ids, of which the first is 2."""
    counts = counts.tocsr()
    counts.sort_indices()
    return TokenizedTexts(counts.indices.astype(np.int32) + 2, counts.indptr.astype(np.int64))


def ngrams_of(
    *splits: list[str], order: int = 3
) -> tuple[list[TokenizedTexts], np.ndarray, CountVectorizer]:
    """Return the n-grams of each split, the number of words of each id, and the vocabulary of the
    first split.
    """
    vectorizer = CountVectorizer(ngram_range=(1, order), binary=True, token_pattern=r"\S+")
    vectorizer.fit(splits[0])
    names = vectorizer.get_feature_names_out()
    orders = np.array([0, 0, *(len(name.split(" ")) for name in names)], dtype=np.uint8)
    return [tokenized(vectorizer.transform(texts)) for texts in splits], orders, vectorizer


(TRAIN, VALIDATION, TEST), ORDERS, VOCABULARY = ngrams_of(*TEXTS)


def tuned(n_classes: int = 2, **changes: object) -> ngram_model.TunedNgramModel:
    splits = {"train": (TRAIN, LABELS[0]), "validation": (VALIDATION, LABELS[1]), **changes}
    return tune_ngram_model(
        splits["train"], splits["validation"], orders=ORDERS, n_classes=n_classes
    )


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


def test_tolerance_changes_no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = tuned()
    monkeypatch.setattr(ngram_model, "TOLERANCE", 1e-9)
    exact = tuned()
    assert (quick.probabilities.argmax(axis=1) == exact.probabilities.argmax(axis=1)).mean() > 0.98


rows = st.lists(st.lists(st.integers(2, 7), unique=True, max_size=6), min_size=2, max_size=8)


def from_lists(lists: list[list[int]]) -> TokenizedTexts:
    ids = np.array([number for one in lists for number in sorted(one)], dtype=np.int32)
    return TokenizedTexts(ids, np.cumsum([0, *map(len, lists)], dtype=np.int64))


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
    found = weigh(matrix, np.array(weights)).toarray()
    assert found * lengths == pytest.approx(expected, abs=1e-9)


def test_indicators_leave_out_longer_ngrams() -> None:
    texts, orders = from_lists([[2, 4], [], [3, 4, 5]]), np.array([0, 0, 1, 2, 1, 3])
    assert indicators(texts, columns_of(orders, 2)).toarray().tolist() == [
        [0, 0, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
    ]


def test_tuning_learns_the_words() -> None:
    found = tuned()
    assert found.accuracy > 0.9
    assert found.model.settings.strength in STRENGTHS
    assert found.probabilities.sum(axis=1) == pytest.approx(1)
    assert "n-grams weighted by" in found.about and "chosen by validation accuracy" in found.about


def test_tuning_chooses_pairs_where_words_say_nothing() -> None:
    """The class is that of the pair; each word occurs in both classes equally often."""
    texts = ["not good", "very bad", "very good", "not bad"] * 12
    labels = np.array([0, 0, 1, 1] * 12)
    (ngrams,), orders, _ = ngrams_of(texts)
    found = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=2)
    assert (found.model.settings.order, found.accuracy) == (2, 1.0)


def test_first_of_equals_is_chosen() -> None:
    texts, labels = ["good thing", "bad thing"] * 10, np.array([1, 0] * 10)
    (ngrams,), orders, _ = ngrams_of(texts)
    found = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=2)
    assert found.model.settings == NgramSettings(1, Weighting.RATIOS, STRENGTHS[0])
    assert FIRST_STRENGTH in STRENGTHS


def test_validation_labels_choose_and_do_not_train() -> None:
    found = tuned(validation=(VALIDATION, 1 - LABELS[1]))
    settings = found.model.settings
    columns = columns_of(ORDERS, settings.order)
    model = fit(indicators(TRAIN, columns), LABELS[0], columns, settings)
    expected = model.probabilities(indicators(VALIDATION, columns), n_classes=2)
    assert np.array_equal(found.probabilities, expected)


def three_classes() -> tuple[list[str], np.ndarray]:
    labels = np.arange(90) % 3
    words = ("bad", "good", "odd")
    return [f"{words[label]} item {number % 7}" for number, label in enumerate(labels)], labels


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


def test_class_that_is_not_in_training_gets_probability_0() -> None:
    """Classes 0 and 2 have no text."""
    texts, labels = ["good", "bad"] * 10, np.array([3, 1] * 10)
    (ngrams,), orders, _ = ngrams_of(texts)
    found = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=4)
    assert found.accuracy == 1
    assert not found.probabilities[:, [0, 2]].any()


def test_one_class_is_constant() -> None:
    texts, labels = ["good", "fine"] * 5, np.ones(10, dtype=int)
    (ngrams, other), orders, _ = ngrams_of(texts, ["good", "bad"])
    found = tune_ngram_model(
        (ngrams, labels), (other, np.array([1, 0])), orders=orders, n_classes=2
    )
    assert found.probabilities.tolist() == [[0, 1], [0, 1]]
    assert found.accuracy == 0.5


def test_empty_texts_get_the_intercept() -> None:
    texts, labels = ["good", "bad", ""] * 10, np.array([1, 0, 1] * 10)
    (ngrams, empty), orders, _ = ngrams_of(texts, ["", "unknown"])
    model = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=2).model
    columns = columns_of(orders, model.settings.order)
    first, second = model.probabilities(indicators(empty, columns), n_classes=2)
    assert first.tolist() == second.tolist()
    assert first[1] > 0.5


def test_corpus_without_ngrams_has_a_model() -> None:
    """No n-gram occurs twice, so the model knows the shares of the classes."""
    ngrams, orders = from_lists([[]] * 9), np.zeros(2, dtype=np.uint8)
    labels = np.array([1, 1, 0] * 3)
    found = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=2)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.probabilities[:, 1] == pytest.approx(2 / 3, abs=0.1)


def with_ngrams(ngrams: TokenizedTexts, orders: np.ndarray) -> TokenizedTexts:
    """Return texts that have these n-grams, as a corpus has them."""
    empty = np.zeros(len(ngrams) + 1, dtype=np.int64)
    own = NgramTexts(ngrams.ids, ngrams.offsets, orders)
    return TokenizedTexts(np.empty(0, dtype=np.int32), empty, ngrams=own)


def test_reference_is_trained_on_train_and_validation() -> None:
    """A word that has a class only in the validation split decides a test text."""
    train, validation = ["good", "bad", "new good", "new bad"] * 5, ["new", "bad"] * 20
    labels, more = np.array([1, 0, 1, 0] * 5), np.array([1, 0] * 20)
    (ngrams, others, test), orders, _ = ngrams_of(train, validation, ["new"])
    splits = (ngrams, labels), (others, more)
    found = ngram_reference(*splits, orders=orders, n_classes=2)
    tuned = tune_ngram_model(*splits, orders=orders, n_classes=2)
    matrix = indicators(test, columns_of(orders, tuned.model.settings.order))
    alone = tuned.model.probabilities(matrix, n_classes=2)
    assert found.classify(with_ngrams(test, orders))[0, 1] > alone[0, 1] + 0.1
    assert found.validation_accuracy == tuned.accuracy
    assert found.about.endswith("60 texts")


@pytest.mark.parametrize(
    ("name", "most"), [("MAX_TEXTS", 130), ("MAX_IDS", 5_000)], ids=["texts", "ngrams"]
)
def test_part_of_many_texts_is_taken(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n_ids = len(TRAIN.ids) + len(VALIDATION.ids)
    monkeypatch.setattr(ngram_model, name, most)
    n_texts = round(260 * min(most / n_ids, 1)) if name == "MAX_IDS" else most
    splits = (TRAIN, LABELS[0]), (VALIDATION, LABELS[1])
    found = ngram_reference(*splits, orders=ORDERS, n_classes=2)
    assert int(found.about.split()[-2]) == pytest.approx(n_texts, abs=2)
    assert found.classify(with_ngrams(TEST, ORDERS)).shape == (60, 2)


def test_part_has_the_ngrams_of_its_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_model, "MAX_TEXTS", 3)
    lists = [[2], [3, 4], [], [5, 6, 7], [2, 7]]
    ((taken, labels),) = ngram_model._parts((from_lists(lists), np.zeros(5, dtype=int)))
    found = [ids.tolist() for ids in np.split(taken.ids, taken.offsets[1:-1])]
    assert found == [[2], [], [2, 7]]
    assert len(labels) == 3


def test_many_classes_take_fewer_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_model, "MAX_TEXT_FITS", 90)
    texts, labels = three_classes()
    (ngrams,), _, _ = ngrams_of(texts)
    ((taken, of_part),) = ngram_model._parts((ngrams, labels))
    assert len(taken) == 30
    assert np.bincount(of_part).tolist() == [10, 10, 10]


def test_model_repeats_itself() -> None:
    assert np.array_equal(tuned().probabilities, tuned().probabilities)
