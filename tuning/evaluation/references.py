"""What a tuned LSTM must beat to be worth it: the majority class, and TF-IDF with logistic
regression. Both take seconds.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from tuning.evaluation.metrics import Array, Labels

N_TERMS = 100_000
MAX_TEXTS = (
    100_000  # of train + validation: more of them cost minutes and gain a linear model little
)
STRENGTHS = (0.5, 2.0, 8.0, 32.0)  # C, chosen by validation accuracy
MAX_ITERATIONS = 300
TOKENS = r"(?u)\w+|[^\w\s]+"  # words, and what stands between them: no text is without a token
MAJORITY, LINEAR = "majority class", "TF-IDF + logistic regression"


@dataclass(frozen=True)
class Reference:
    """A reference trained on train + validation, as an export is: its class probabilities of the
    test texts, (n_texts, n_classes).

    `validation_accuracy` is that of its choice, trained on the training split alone.
    """

    about: str
    validation_accuracy: float
    probabilities: Array
    seconds: float


Split = tuple[Sequence[str], Labels]  # texts and their classes


def references(
    train: Split, validation: Split, test_texts: Sequence[str], *, n_classes: int
) -> dict[str, Reference]:
    """Every reference by its name. The labels of the test texts are not asked for."""
    majority = majority_class(train, validation, test_texts, n_classes=n_classes)
    return {
        MAJORITY: majority,
        LINEAR: linear_model(train, validation, test_texts, n_classes=n_classes),
    }


def majority_class(
    train: Split, validation: Split, test_texts: Sequence[str], *, n_classes: int
) -> Reference:
    """The shares of the classes, for every text."""
    started = time.monotonic()
    counts = np.bincount(np.concatenate([train[1], validation[1]]), minlength=n_classes)
    accuracy = float(np.mean(validation[1] == np.bincount(train[1], minlength=n_classes).argmax()))
    probabilities = np.tile(counts / counts.sum(), (len(test_texts), 1))
    return Reference(
        "always the most frequent class", accuracy, probabilities, time.monotonic() - started
    )


def linear_model(
    train: Split, validation: Split, test_texts: Sequence[str], *, n_classes: int
) -> Reference:
    """Words and pairs of words weighted by TF-IDF, then logistic regression with the C of
    `STRENGTHS` that validation likes best.

    A class that has no text in either split gets the probability 0.
    """
    started = time.monotonic()
    share = min(MAX_TEXTS / (len(train[0]) + len(validation[0])), 1.0)
    train, validation = _part(train, share), _part(validation, share)
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2),
        max_features=N_TERMS,
        sublinear_tf=True,
        token_pattern=TOKENS,
        dtype=np.float32,
    )
    terms, held_out = vectorizer.fit_transform(train[0]), vectorizer.transform(validation[0])
    accuracies = {}
    for strength in STRENGTHS:
        classifier = _fit(_classifier(strength, train[1]), terms, train[1])
        accuracies[strength] = float(np.mean(classifier.predict(held_out) == validation[1]))
    best = max(STRENGTHS, key=lambda strength: (accuracies[strength], -strength))
    both = [*train[0], *validation[0]]
    labels = np.concatenate([train[1], validation[1]])
    final = _fit(make_pipeline(vectorizer, _classifier(best, labels)), both, labels)
    probabilities = np.zeros((len(test_texts), n_classes))
    probabilities[:, final.classes_] = final.predict_proba(list(test_texts))
    about = (
        f"words and pairs of words, {len(vectorizer.vocabulary_):,} terms, C = {best:g} by"
        f" validation, {len(both):,} texts"
    )
    return Reference(about, accuracies[best], probabilities, time.monotonic() - started)


def _part(split: Split, share: float) -> Split:
    """A share of each class's texts, evenly spaced; every class that the split has keeps at least
    one.
    """
    of_classes = [np.flatnonzero(split[1] == label) for label in np.unique(split[1])]
    counts = [max(round(share * len(of_class)), 1) for of_class in of_classes]
    places = [
        np.linspace(0, len(of_class) - 1, n).round().astype(int)
        for of_class, n in zip(of_classes, counts, strict=True)
    ]
    rows = np.sort(
        np.concatenate(
            [of_class[place] for of_class, place in zip(of_classes, places, strict=True)]
        )
    )
    return [split[0][row] for row in rows], split[1][rows]


def _classifier(strength: float, labels: Labels) -> LogisticRegression | DummyClassifier:
    """Logistic regression, which scikit-learn refuses to fit to a single class: then that class for
    every text.
    """
    is_single = len(np.unique(labels)) == 1
    return (
        DummyClassifier(strategy="prior")
        if is_single
        else LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    )


def _fit(
    model: LogisticRegression | DummyClassifier | Pipeline, x: object, y: Labels
) -> LogisticRegression | DummyClassifier | Pipeline:
    """Fit; a solver that stops at its last iteration is near enough for a reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)
