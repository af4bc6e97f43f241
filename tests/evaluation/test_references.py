"""The majority class and the linear model, trained as an export is."""

import math
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests.evaluation.ngrams import LABELS, TEXTS
from tests.numbered import TWO, numbered
from tuning.evaluation.linear_reference import LinearTask
from tuning.evaluation.references import WORD_PATTERN, Split, gain, linear_model, references

TASK = LinearTask()
TRAIN, VALIDATION, TEST = (Split(*pair) for pair in zip(TEXTS, LABELS, strict=True))


@pytest.mark.parametrize("n_terms", [40, 100_000], ids=["most_frequent", "all"])
@pytest.mark.parametrize("class_weight", ["", "balanced"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_linear_model_is_that_of_scikit_learn_s_vectorizer(
    n_terms: int, n_classes: int, class_weight: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The regression of two classes is liblinear's, which is several times as fast as the softmax
    regression of more classes.
    """
    monkeypatch.setattr("tuning.evaluation.references.N_TERMS", n_terms)
    of_three = rare(300, every=9)
    train, validation = (TRAIN, VALIDATION) if n_classes == 2 else (of_three, of_three)
    if class_weight and n_classes == 2:  # The classes of TRAIN have as many texts each.
        train = validation = of_three._replace(labels=of_three.labels // 2)
    task = LinearTask(class_weight=class_weight)
    reference = linear_model(train, validation, TEST[0], target=numbered(n_classes), task=task)
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        max_features=n_terms,
        sublinear_tf=True,
        token_pattern=WORD_PATTERN,
        dtype=np.float32,
    )
    strength = float(reference.about.split("C = ")[1].split()[0])
    fast: dict[str, Any] = {"solver": "liblinear", "dual": True, "tol": 0.1, "random_state": 0}
    options = fast if n_classes == 2 else {"max_iter": 300}
    regression = LogisticRegression(C=strength, class_weight=class_weight or None, **options)
    model = make_pipeline(vectorizer, regression)
    model.fit([*train[0], *validation[0]], np.concatenate([train[1], validation[1]]))
    tolerance = 1e-4 if class_weight else 0.0
    expected = model.predict_proba(TEST[0])
    np.testing.assert_allclose(reference.predictions, expected, rtol=0, atol=tolerance)
    assert f"{len(vectorizer.vocabulary_):,} terms" in reference.about


def test_majority_class_gives_the_shares_of_train_and_validation() -> None:
    train = Split(TRAIN[0][:4], np.array([0, 1, 1, 1]))
    validation = Split(VALIDATION[0][:2], np.array([0, 2]))
    models = references(train, validation, TEST[0][:3], target=numbered(3), task=TASK)
    majority = models["majority class"]
    assert majority.predictions == pytest.approx(np.tile([2 / 6, 3 / 6, 1 / 6], (3, 1)))


@pytest.mark.parametrize("texts", [["!!!", "...", "👍"], ["好", "坏", "!"]])
def test_linear_model_takes_texts_without_words(texts: list[str]) -> None:
    labels = np.array([1, 0, 1])
    train, validation = Split(texts * 4, np.tile(labels, 4)), Split(texts, labels)
    reference = linear_model(train, validation, ["", *texts], target=TWO, task=TASK)
    assert reference.predictions.shape == (4, 2)


def rare(n: int, *, every: int) -> Split[list[str]]:
    """Return texts of three classes. Every 100th text has the last class, at places that an even
    spacing misses.
    """
    labels = np.array([2 if number % every == 1 else number // 2 % 2 for number in range(n)])
    words = ("bad", "good", "odd")
    return Split([f"{words[label]} item{number}" for number, label in enumerate(labels)], labels)


@pytest.mark.parametrize("n_classes", [3, 4])
def test_linear_model_of_a_part_keeps_every_class(
    monkeypatch: pytest.MonkeyPatch, n_classes: int
) -> None:
    """100 of 1,200 texts are taken; 12 texts have the rare class. A class without a text has the
    probability 0.
    """
    monkeypatch.setattr("tuning.evaluation.references.MAX_TEXTS", 100)
    splits, target = (rare(1000, every=100), rare(200, every=100)), numbered(n_classes)
    reference = linear_model(*splits, ["odd", "good"], target=target, task=TASK)
    assert reference.predictions.shape == (2, n_classes)
    assert reference.predictions.sum(axis=1) == pytest.approx(1)
    assert 0 < reference.predictions[1, 2] < reference.predictions[0, 2]
    assert not reference.predictions[:, 3:].any()


def test_linear_model_of_a_training_split_with_one_class() -> None:
    train = Split(["good", "fine"] * 5, np.ones(10, dtype=int))
    same = Split(["good", "fine"], np.array([1, 1]))
    reference = linear_model(train, same, ["good", "bad"], target=TWO, task=TASK)
    assert reference.predictions.tolist() == [[0, 1], [0, 1]]
    # Validation alone has the other class.
    both = Split(["good", "bad"] * 5, np.array([1, 0] * 5))
    reference = linear_model(train, both, ["bad"], target=TWO, task=TASK)
    assert reference.predictions[0, 0] > 0.5


@pytest.mark.parametrize(
    ("metric", "labels", "expected"),
    [
        ("", [0, 1], 0.5),
        ("val_loss", [1, 1], -math.log(2)),
        ("val_auc", [1, 1], -math.inf),  # not defined
    ],
)
def test_gain_is_larger_for_better_predictions(
    metric: str, labels: list[int], expected: float
) -> None:
    task, same = LinearTask(metric), np.full((2, 2), 0.5)
    assert gain(np.array(labels), same, target=TWO, task=task) == pytest.approx(expected)
