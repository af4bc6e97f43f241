"""The linear model on n-grams, compared with scikit-learn on texts, its tuning, and the model as a
reference.
"""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from sklearn.utils.class_weight import compute_sample_weight

from tests.evaluation.ngrams import (
    LABELS,
    ORDERS,
    TEST,
    TEXTS,
    TRAIN,
    VALIDATION,
    from_lists,
    ngrams_of,
    three_classes,
)
from tests.numbered import TWO, numbered
from tuning import regressions
from tuning.evaluation import ngram_model
from tuning.evaluation.linear_reference import LinearTask, NgramSettings, Weighting
from tuning.evaluation.ngram_model import (
    FIRST_STRENGTH,
    STRENGTHS,
    columns_of,
    fit,
    indicators,
    log_count_ratios,
    ngram_reference,
    tune_ngram_model,
    tuned_reference,
    weigh,
)
from tuning.evaluation.references import Reference, Split, learned
from tuning.inputs.contract import IdTexts
from tuning.targets.number import Number

TASK = LinearTask()


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
    monkeypatch.setattr(regressions, "TOLERANCE", 1e-9)
    columns = columns_of(ORDERS, order)
    settings = NgramSettings(order, weighting, 3.0)
    model = fit(Split(indicators(TRAIN, columns), LABELS[0]), columns, settings, target=TWO)
    classifier, test = direct(LABELS[0] == 1, order=order, weighting=weighting, strength=3.0)
    assert model.predictions(indicators(TEST, columns), target=TWO) == pytest.approx(
        classifier.predict_proba(test), abs=1e-4
    )


def test_several_classes_are_each_against_the_rest() -> None:
    texts, labels = three_classes()
    (ngrams,), orders, vectorizer = ngrams_of(texts)
    columns = columns_of(orders, 1)
    matrix = indicators(ngrams, columns)
    settings = NgramSettings(1, Weighting.RATIOS, 10.0)
    model = fit(Split(matrix, labels), columns, settings, target=numbered(4))
    assert len(model.regressions) == 3
    for label, (weights, _) in model.regressions.items():
        expected = log_count_ratios(matrix, labels == label, columns)
        assert weights == pytest.approx(expected)
    column = 2 + vectorizer.vocabulary_["odd"]
    signs = [np.sign(weights[column]) for weights, _ in model.regressions.values()]
    assert signs == [-1, -1, 1]
    probabilities = model.predictions(matrix, target=numbered(4))
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert probabilities.argmax(axis=1).tolist() == labels.tolist()
    assert not probabilities[:, 3].any()


def tuned(
    train: Split[IdTexts], validation: Split[IdTexts], orders: np.ndarray, task: LinearTask = TASK
) -> tuple[NgramSettings, np.ndarray]:
    settings, (predictions,) = tune_ngram_model(
        [(train, validation)], orders=orders, target=TWO, task=task
    )
    return settings, predictions


def right_share(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float((predictions.argmax(axis=1) == labels).mean())


def reference_of(
    train: Split[IdTexts], validation: Split[IdTexts], test: IdTexts, *, orders: np.ndarray
) -> Reference:
    options: dict[str, Any] = {"orders": orders, "target": TWO, "task": TASK}
    own = tuned_reference([(train, validation)], **options)
    return ngram_reference(train, validation, test, tuned=own, **options)


def test_tuning_chooses_pairs_where_words_say_nothing() -> None:
    """The class is that of the pair; each word occurs in both classes equally often."""
    texts = ["not good", "very bad", "very good", "not bad"] * 12
    labels = np.array([0, 0, 1, 1] * 12)
    (ngrams,), orders, _ = ngrams_of(texts)
    settings, predictions = tuned(Split(ngrams, labels), Split(ngrams, labels), orders)
    assert (settings.order, right_share(predictions, labels)) == (2, 1.0)


def test_tuning_takes_the_best_mean_over_folds() -> None:
    """In the first fold words are enough, and of equals the shortest n-grams would be chosen."""
    folds = [
        (["good", "bad", "good", "bad"], [1, 0, 1, 0]),
        (["not good", "very bad", "very good", "not bad"], [0, 0, 1, 1]),
    ]
    texts = [of_fold * 12 for of_fold, _ in folds]
    (_, *of_folds), orders, _ = ngrams_of([*texts[0], *texts[1]], *texts)
    splits = [
        Split(ids, np.array(labels * 12)) for ids, (_, labels) in zip(of_folds, folds, strict=True)
    ]
    orders_of = [
        tune_ngram_model([(s, s) for s in some], orders=orders, target=TWO, task=TASK)[0].order
        for some in (splits[:1], splits, splits[::-1])
    ]
    assert orders_of == [1, 2, 2]


def test_first_of_equals_is_chosen() -> None:
    texts, labels = ["good thing", "bad thing"] * 10, np.array([1, 0] * 10)
    (ngrams,), orders, _ = ngrams_of(texts)
    settings, _ = tuned(Split(ngrams, labels), Split(ngrams, labels), orders)
    assert settings == NgramSettings(1, Weighting.RATIOS, STRENGTHS[0])
    assert FIRST_STRENGTH in STRENGTHS


def test_validation_labels_choose_and_do_not_train() -> None:
    train, flipped = Split(TRAIN, LABELS[0]), Split(VALIDATION, 1 - LABELS[1])
    settings, predictions = tuned(train, flipped, ORDERS)
    columns = columns_of(ORDERS, settings.order)
    model = fit(Split(indicators(TRAIN, columns), LABELS[0]), columns, settings, target=TWO)
    expected = model.predictions(indicators(VALIDATION, columns), target=TWO)
    assert np.array_equal(predictions, expected)


def test_one_class_is_constant() -> None:
    texts, labels = ["good", "fine"] * 5, np.ones(10, dtype=int)
    (ngrams, other), orders, _ = ngrams_of(texts, ["good", "bad"])
    _, predictions = tuned(Split(ngrams, labels), Split(other, np.array([1, 0])), orders)
    assert predictions.tolist() == [[0, 1], [0, 1]]


def test_corpus_without_ngrams_has_a_model() -> None:
    """No n-gram occurs twice, so the model knows the shares of the classes."""
    ngrams, orders = from_lists([[]] * 9), np.zeros(2, dtype=np.uint8)
    labels = np.array([1, 1, 0] * 3)
    _, predictions = tuned(Split(ngrams, labels), Split(ngrams, labels), orders)
    assert predictions[:, 1] == pytest.approx(2 / 3, abs=0.1)


def test_reference_is_trained_on_train_and_validation() -> None:
    """A word that has a class only in the validation split decides a test text."""
    train, validation = ["good", "bad", "new good", "new bad"] * 5, ["new", "bad"] * 20
    labels, more = np.array([1, 0, 1, 0] * 5), np.array([1, 0] * 20)
    (ngrams, others, test), orders, _ = ngrams_of(train, validation, ["new"])
    splits = Split(ngrams, labels), Split(others, more)
    reference = reference_of(*splits, test, orders=orders)
    settings, _ = tuned(*splits, orders)
    columns = columns_of(orders, settings.order)
    model = fit(Split(indicators(ngrams, columns), labels), columns, settings, target=TWO)
    alone = model.predictions(indicators(test, columns), target=TWO)
    assert reference.predictions[0, 1] > alone[0, 1] + 0.1
    assert reference.about.endswith("60 texts")


@pytest.mark.parametrize(
    ("name", "most"), [("MAX_TEXTS", 130), ("MAX_IDS", 5_000)], ids=["texts", "ngrams"]
)
def test_part_of_many_texts_is_taken(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n_ids = len(TRAIN.ids) + len(VALIDATION.ids)
    monkeypatch.setattr(ngram_model, name, most)
    n_texts = round(260 * min(most / n_ids, 1)) if name == "MAX_IDS" else most
    splits = Split(TRAIN, LABELS[0]), Split(VALIDATION, LABELS[1])
    reference = reference_of(*splits, TEST, orders=ORDERS)
    assert int(reference.about.split()[-2]) == pytest.approx(n_texts, abs=2)
    assert (reference.predictions.argmax(axis=1) == LABELS[2]).mean() > 0.8


def test_many_classes_take_fewer_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_model, "MAX_TEXT_FITS", 90)
    texts, labels = three_classes()
    (ngrams,), _, _ = ngrams_of(texts)
    (taken,) = ngram_model._parts(Split(ngrams, labels), target=numbered(3))
    assert len(taken.texts) == 30
    assert np.bincount(taken.labels).tolist() == [10, 10, 10]


def test_seconds_include_the_training_on_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of the clock is a second later: the tuning and the training read it twice."""
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(ngram_model, "time", clock)
    splits = Split(TRAIN, LABELS[0]), Split(VALIDATION, LABELS[1])
    assert reference_of(*splits, TEST, orders=ORDERS).seconds == 2


ROW_WEIGHTS = np.random.default_rng(0).integers(0, 4, len(LABELS[0])).astype(np.float32)


@pytest.mark.parametrize("weights", [None, ROW_WEIGHTS], ids=["equal", "rows"])
@pytest.mark.parametrize("class_weight", ["", "balanced", "0:1,1:5"])
def test_weights_are_those_of_scikit_learn(
    class_weight: str, weights: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row with the weight 0 is not learned from, nor are n-grams that only such rows have.
    Weights are scaled to a mean of 1.
    """
    monkeypatch.setattr(regressions, "TOLERANCE", 1e-9)
    columns = columns_of(ORDERS, 1)
    split = Split(indicators(TRAIN, columns), LABELS[0], weights)
    rows = learned(split, target=TWO, task=LinearTask(class_weight=class_weight))
    model = fit(rows, columns, NgramSettings(1, Weighting.RATIOS, 3.0), target=TWO)

    kept = np.ones(len(LABELS[0]), bool) if weights is None else weights > 0
    x, y = indicators(TRAIN, columns)[kept], LABELS[0][kept]
    of_class = {"": None, "balanced": "balanced", "0:1,1:5": {0: 1.0, 1: 5.0}}[class_weight]
    expected = compute_sample_weight(of_class, LABELS[0])[kept]
    expected = expected * (1.0 if weights is None else weights[kept])
    ratios = log_count_ratios(x, y == 1, columns & (x.getnnz(axis=0) > 0))
    classifier = LogisticRegression(
        C=3.0, solver="liblinear", dual=True, tol=1e-9, max_iter=100_000, random_state=0
    )
    classifier.fit(weigh(x, ratios), y, expected / expected.mean())
    test = indicators(TEST, columns)
    assert model.predictions(test, target=TWO) == pytest.approx(
        classifier.predict_proba(weigh(test, ratios)), abs=1e-4
    )


def test_metric_of_the_study_chooses_the_settings() -> None:
    splits = Split(TRAIN, LABELS[0]), Split(VALIDATION, LABELS[1])
    values = {}
    for metric in ("val_accuracy", "val_loss"):
        _, predictions = tuned(*splits, ORDERS, LinearTask(metric))
        values[metric] = TWO.value(LABELS[1], predictions, metric="val_loss")
    assert values["val_loss"] < values["val_accuracy"]


def test_numbers_are_compared_with_others_where_most_are_the_maximum() -> None:
    """The median is the maximum, and no number is above it."""
    texts = ["odd good"] * 60 + ["odd bad"] * 40
    (ngrams,), orders, vectorizer = ngrams_of(texts)
    columns = columns_of(orders, 1)
    rows = Split(indicators(ngrams, columns), np.array([5.0] * 60 + [1.0] * 40))
    model = fit(rows, columns, NgramSettings(1, Weighting.RATIOS, 3.0), target=Number())
    ((weights, _),) = model.regressions.values()
    good, bad, odd = (weights[2 + vectorizer.vocabulary_[word]] for word in ("good", "bad", "odd"))
    assert good > 1 and bad < -1 and abs(odd) < 0.5
