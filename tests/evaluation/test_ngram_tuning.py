"""Tuning of the linear model on n-grams, and the model as a reference."""

from typing import Any

import numpy as np
import pytest

from tests.evaluation.ngrams import (
    LABELS,
    ORDERS,
    TEST,
    TRAIN,
    VALIDATION,
    from_lists,
    ngrams_of,
    three_classes,
)
from tuning.data.corpus import NgramTexts, TokenizedTexts
from tuning.evaluation import ngram_model, ngram_tuning
from tuning.evaluation.linear_reference import NgramSettings, Weighting
from tuning.evaluation.ngram_model import (
    NgramModel,
    columns_of,
    fit,
    indicators,
)
from tuning.evaluation.ngram_tuning import (
    FIRST_STRENGTH,
    STRENGTHS,
    NgramReference,
    Split,
    TunedNgramModel,
    ngram_reference,
    tune_ngram_model,
    tuned_reference,
)


def tuned(n_classes: int = 2, **changes: object) -> TunedNgramModel:
    splits = {"train": (TRAIN, LABELS[0]), "validation": (VALIDATION, LABELS[1]), **changes}
    return tune_ngram_model(
        splits["train"], splits["validation"], orders=ORDERS, n_classes=n_classes
    )


def reference_of(train: Split, validation: Split, *, orders: np.ndarray) -> NgramReference:
    own = tuned_reference(train, validation, orders=orders, n_classes=2)
    return ngram_reference(train, validation, own, orders=orders, n_classes=2)


def test_tolerance_changes_no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = tuned()
    monkeypatch.setattr(ngram_model, "TOLERANCE", 1e-9)
    exact = tuned()
    assert (quick.probabilities.argmax(axis=1) == exact.probabilities.argmax(axis=1)).mean() > 0.98


def test_tuning_learns_the_words() -> None:
    tuned_model = tuned()
    assert tuned_model.accuracy > 0.9
    assert tuned_model.model.settings.strength in STRENGTHS
    assert tuned_model.probabilities.sum(axis=1) == pytest.approx(1)
    assert "n-grams weighted by" in tuned_model.about
    assert "chosen by validation accuracy" in tuned_model.about


def test_tuning_chooses_pairs_where_words_say_nothing() -> None:
    """The class is that of the pair; each word occurs in both classes equally often."""
    texts = ["not good", "very bad", "very good", "not bad"] * 12
    labels = np.array([0, 0, 1, 1] * 12)
    (ngrams,), orders, _ = ngrams_of(texts)
    tuned_model = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=2)
    assert (tuned_model.model.settings.order, tuned_model.accuracy) == (2, 1.0)


def test_first_of_equals_is_chosen() -> None:
    texts, labels = ["good thing", "bad thing"] * 10, np.array([1, 0] * 10)
    (ngrams,), orders, _ = ngrams_of(texts)
    tuned_model = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=2)
    assert tuned_model.model.settings == NgramSettings(1, Weighting.RATIOS, STRENGTHS[0])
    assert FIRST_STRENGTH in STRENGTHS


def test_validation_labels_choose_and_do_not_train() -> None:
    tuned_model = tuned(validation=(VALIDATION, 1 - LABELS[1]))
    settings = tuned_model.model.settings
    columns = columns_of(ORDERS, settings.order)
    model = fit(indicators(TRAIN, columns), LABELS[0], columns, settings)
    expected = model.probabilities(indicators(VALIDATION, columns), n_classes=2)
    assert np.array_equal(tuned_model.probabilities, expected)


def test_class_that_is_not_in_training_gets_probability_0() -> None:
    """Classes 0 and 2 have no text."""
    texts, labels = ["good", "bad"] * 10, np.array([3, 1] * 10)
    (ngrams,), orders, _ = ngrams_of(texts)
    tuned_model = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=4)
    assert tuned_model.accuracy == 1
    assert not tuned_model.probabilities[:, [0, 2]].any()


def test_one_class_is_constant() -> None:
    texts, labels = ["good", "fine"] * 5, np.ones(10, dtype=int)
    (ngrams, other), orders, _ = ngrams_of(texts, ["good", "bad"])
    tuned_model = tune_ngram_model(
        (ngrams, labels), (other, np.array([1, 0])), orders=orders, n_classes=2
    )
    assert tuned_model.probabilities.tolist() == [[0, 1], [0, 1]]
    assert tuned_model.accuracy == 0.5


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
    tuned_model = tune_ngram_model((ngrams, labels), (ngrams, labels), orders=orders, n_classes=2)
    assert tuned_model.accuracy == pytest.approx(2 / 3)
    assert tuned_model.probabilities[:, 1] == pytest.approx(2 / 3, abs=0.1)


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
    reference = reference_of(*splits, orders=orders)
    tuned = tune_ngram_model(*splits, orders=orders, n_classes=2)
    matrix = indicators(test, columns_of(orders, tuned.model.settings.order))
    alone = tuned.model.probabilities(matrix, n_classes=2)
    assert reference.classify(with_ngrams(test, orders))[0, 1] > alone[0, 1] + 0.1
    assert reference.validation_accuracy == tuned.accuracy
    assert reference.about.endswith("60 texts")


@pytest.mark.parametrize(
    ("name", "most"), [("MAX_TEXTS", 130), ("MAX_IDS", 5_000)], ids=["texts", "ngrams"]
)
def test_part_of_many_texts_is_taken(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n_ids = len(TRAIN.ids) + len(VALIDATION.ids)
    monkeypatch.setattr(ngram_tuning, name, most)
    n_texts = round(260 * min(most / n_ids, 1)) if name == "MAX_IDS" else most
    splits = (TRAIN, LABELS[0]), (VALIDATION, LABELS[1])
    reference = reference_of(*splits, orders=ORDERS)
    assert int(reference.about.split()[-2]) == pytest.approx(n_texts, abs=2)
    assert reference.classify(with_ngrams(TEST, ORDERS)).shape == (60, 2)


def test_part_has_the_ngrams_of_its_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_tuning, "MAX_TEXTS", 3)
    lists = [[2], [3, 4], [], [5, 6, 7], [2, 7]]
    ((taken, labels),) = ngram_tuning._parts((from_lists(lists), np.zeros(5, dtype=int)))
    part_ids = [ids.tolist() for ids in np.split(taken.ids, taken.offsets[1:-1])]
    assert part_ids == [[2], [], [2, 7]]
    assert len(labels) == 3


def test_many_classes_take_fewer_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_tuning, "MAX_TEXT_FITS", 90)
    texts, labels = three_classes()
    (ngrams,), _, _ = ngrams_of(texts)
    ((taken, of_part),) = ngram_tuning._parts((ngrams, labels))
    assert len(taken) == 30
    assert np.bincount(of_part).tolist() == [10, 10, 10]


def test_model_repeats_itself() -> None:
    assert np.array_equal(tuned().probabilities, tuned().probabilities)


def test_seconds_include_the_training_on_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training lasts one second of a clock that only trainings advance."""
    n_trainings = 0

    def counted(*arguments: Any) -> NgramModel:
        nonlocal n_trainings
        n_trainings += 1
        return fit(*arguments)

    monkeypatch.setattr(ngram_tuning, "fit", counted)
    monkeypatch.setattr(ngram_tuning.time, "monotonic", lambda: float(n_trainings))
    reference = reference_of((TRAIN, LABELS[0]), (VALIDATION, LABELS[1]), orders=ORDERS)
    assert reference.seconds == n_trainings > 1
