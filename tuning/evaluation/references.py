"""References for a comparison with a tuned model, which train in seconds: the best constant, and
TF-IDF with logistic regression. `ngram_model` has the third, which is tuned further.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

from tuning.inputs.contract import TokenizedTexts
from tuning.targets.target import Array, Labels, Target

N_TERMS = 100_000
# Maximum number of texts of train + validation: more take minutes and improve a linear model
# little.
MAX_TEXTS = 100_000
STRENGTHS = (0.5, 2.0, 8.0, 32.0)  # values of C, chosen by validation accuracy
MAX_ITERATIONS = 300
# liblinear's dual solver with this tolerance trains on 18,000 texts with 360,000 n-grams in 0.3 s.
# Its primal solver takes 1.4 s, and the accuracies differ by at most 0.001. On 23,000 texts with
# 100,000 terms the dual solver takes 0.5 s, and scikit-learn's default, lbfgs, 2.5 s.
TOLERANCE = 0.1
# Words, and runs of punctuation between them, so that every text has a token.
TOKENS = r"(?u)\w+|[^\w\s]+"
LINEAR = "TF-IDF + logistic regression"
NGRAMS = "tuned n-grams + logistic regression"


@dataclass(frozen=True)
class Reference:
    """A reference that was trained on train + validation, as an exported model is.

    Attributes:
        validation_accuracy: the accuracy of the reference trained on the training split alone; None
            for a target without probabilities.
        probabilities: the predictions for the test texts, (n_texts, width).
        seconds: the time for training and prediction.
    """

    about: str
    validation_accuracy: float | None
    probabilities: Array
    seconds: float

    def classify(self, texts: TokenizedTexts) -> Array:
        """Return the computed predictions for the test texts: this model takes no ids."""
        return self.probabilities


Split = tuple[Sequence[str], Labels]  # texts and their labels


def references(
    train: Split, validation: Split, test_texts: Sequence[str], *, target: Target
) -> dict[str, Reference]:
    """Return each reference by its name; the labels of the test texts are not needed."""
    started = time.monotonic()
    constant = target.constant(np.concatenate([train[1], validation[1]]))
    decided = target.decide(target.constant(train[1])[None])
    accuracy = float(np.mean(validation[1] == decided)) if target.has_probabilities else None
    same = np.tile(constant, (len(test_texts), 1))
    constant_reference = Reference(
        target.constant_about, accuracy, same, time.monotonic() - started
    )
    if not target.has_linear_reference:
        return {target.constant_name: constant_reference}
    return {
        target.constant_name: constant_reference,
        LINEAR: linear_model(train, validation, test_texts, n_classes=target.width),
    }


def linear_model(
    train: Split, validation: Split, test_texts: Sequence[str], *, n_classes: int
) -> Reference:
    """Return a logistic regression on words and pairs of words weighted by TF-IDF, with the C of
    `STRENGTHS` that has the highest validation accuracy.

    A class without texts in both splits has the probability 0.
    """
    started = time.monotonic()
    share = min(MAX_TEXTS / (len(train[0]) + len(validation[0])), 1.0)
    train, validation = _part(train, share), _part(validation, share)
    # All texts are split into words once, which takes longer than the regressions.
    counter = CountVectorizer(ngram_range=(1, 2), token_pattern=TOKENS, dtype=np.float32)
    counts = counter.fit_transform([*train[0], *validation[0]])
    of_train, of_validation = counts[: len(train[0])], counts[len(train[0]) :]
    weights = _TermWeights.of(of_train)
    terms, held_out = weights.weigh(of_train), weights.weigh(of_validation)
    accuracies = {}
    for strength in STRENGTHS:
        classifier = fit_quietly(_classifier(strength, train[1]), terms, train[1])
        accuracies[strength] = float(np.mean(classifier.predict(held_out) == validation[1]))
    best = max(STRENGTHS, key=lambda strength: (accuracies[strength], -strength))
    labels = np.concatenate([train[1], validation[1]])
    weights = _TermWeights.of(counts)
    final = fit_quietly(_classifier(best, labels), weights.weigh(counts), labels)
    probabilities = np.zeros((len(test_texts), n_classes))
    test_counts = counter.transform(list(test_texts))
    probabilities[:, final.classes_] = final.predict_proba(weights.weigh(test_counts))
    about = (
        f"words and pairs of words, {len(weights.columns):,} terms, C = {best:g} by validation,"
        f" {len(labels):,} texts"
    )
    return Reference(about, accuracies[best], probabilities, time.monotonic() - started)


@dataclass(frozen=True)
class _TermWeights:
    """The weights of the `N_TERMS` most frequent terms of some texts, as `TfidfVectorizer` with
    `sublinear_tf` gives them. `columns` are the places of these terms in the counts of all terms.
    """

    columns: npt.NDArray[np.intp]
    transformer: TfidfTransformer

    @classmethod
    def of(cls, counts: sparse.csr_matrix) -> _TermWeights:
        totals = np.asarray(counts.sum(axis=0)).ravel()
        present = np.flatnonzero(totals)
        # Sorted as in scikit-learn, which then keeps the same of the terms with equal totals.
        columns = np.sort(present[np.argsort(-totals[present])[:N_TERMS]])
        return cls(columns, TfidfTransformer(sublinear_tf=True).fit(counts[:, columns]))

    def weigh(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        return self.transformer.transform(counts[:, self.columns])


def _part(split: Split, share: float) -> Split:
    rows = rows_of_part(split[1], share)
    return [split[0][row] for row in rows], split[1][rows]


def rows_of_part(labels: Labels, share: float) -> npt.NDArray[np.intp]:
    """Return the rows of a share of each class's texts, evenly spaced, with at least one text of
    each class.
    """

    def part_of(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        n = max(round(share * len(rows)), 1)
        places: npt.NDArray[np.intp] = np.linspace(0, len(rows) - 1, n).round().astype(np.intp)
        return rows[places]

    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([part_of(rows) for rows in by_class]))


def binary_regression(strength: float) -> LogisticRegression:
    """Return a logistic regression of two classes with this C, which is not trained yet. Its solver
    penalizes the intercept too, which makes no difference for thousands of texts.
    """
    return LogisticRegression(
        C=strength, solver="liblinear", dual=True, tol=TOLERANCE, random_state=0
    )


def _classifier(strength: float, labels: Labels) -> LogisticRegression | DummyClassifier:
    """Return a logistic regression, or a constant classifier for a single class, to which
    scikit-learn does not fit a regression. For more than two classes it is a softmax regression.
    """
    n_classes = len(np.unique(labels))
    if n_classes == 1:
        return DummyClassifier(strategy="prior")
    if n_classes == 2:
        return binary_regression(strength)
    return LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)


def fit_quietly(
    model: LogisticRegression | DummyClassifier, x: sparse.csr_matrix, y: Labels
) -> LogisticRegression | DummyClassifier:
    """Fit a model, and return it, without the warning that the solver stopped at its last
    iteration: a reference needs no more precision.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)
