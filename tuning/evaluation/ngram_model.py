"""A linear model on the n-grams of texts: logistic regression on n-grams that are weighted by naive
Bayes log-count ratios (Wang and Manning, ACL 2012) or by inverse document frequencies.

A text is the set of its n-grams. Each n-gram has a weight, and the weights of a text are scaled to
length 1. With two classes, one regression is trained; with more classes, one regression for each
class, against the rest.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tuning.data.corpus import TokenizedTexts
from tuning.evaluation.linear_reference import NgramSettings, Weighting
from tuning.evaluation.metrics import Array, Labels

# liblinear's dual solver with this tolerance trains on 18,000 texts with 360,000 n-grams in 0.3 s.
# Its primal solver takes 1.4 s, and the accuracies differ by at most 0.001. On 23,000 texts with
# 100,000 terms the dual solver takes 0.5 s, and scikit-learn's default, lbfgs, 2.5 s.
TOLERANCE = 0.1


@dataclass(frozen=True)
class _Regression:
    """A regression of one class against the rest: the weights of the n-grams, the coefficients and
    the intercept.
    """

    weights: Array
    coefficients: Array
    intercept: float

    def probabilities(self, matrix: sparse.csr_matrix) -> Array:
        weighted = weigh(matrix, self.weights)
        result: Array = expit(weighted @ self.coefficients + self.intercept)
        return result


@dataclass(frozen=True)
class NgramModel:
    """A trained model.

    Attributes:
        settings: the settings with which the model was trained.
        classes: the classes of its training texts, ascending.
        regressions: none for one class, one for two classes, otherwise one for each class.
    """

    settings: NgramSettings
    classes: Labels
    regressions: list[_Regression]

    def probabilities(self, matrix: sparse.csr_matrix, *, n_classes: int) -> Array:
        """Return the class probabilities of texts, (n_texts, n_classes). A class without a training
        text has the probability 0.
        """
        columns = [regression.probabilities(matrix) for regression in self.regressions]
        if len(columns) == 1:
            columns = [1 - columns[0], columns[0]]
        scores = np.stack(columns, axis=1) if columns else np.ones((matrix.shape[0], 1))
        probabilities = np.zeros((matrix.shape[0], n_classes))
        # The regressions of several classes are independent, so their sum is not 1.
        probabilities[:, self.classes] = scores / np.maximum(
            scores.sum(axis=1, keepdims=True), np.finfo(float).tiny
        )
        return probabilities


def columns_of(orders: npt.NDArray[np.uint8], order: int) -> npt.NDArray[np.bool_]:
    """Return whether each id is an n-gram of at most `order` words, bool (n_ids,). Padding and
    unknown have the order 0.
    """
    return (orders > 0) & (orders <= order)


def indicators(texts: TokenizedTexts, columns: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
    """Return the texts as rows of ones and zeros, (n_texts, n_ids): 1 for each n-gram of the text
    that is among `columns`.
    """
    kept = columns[texts.ids]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(kept)])[texts.offsets]
    ids = texts.ids[kept]
    return sparse.csr_matrix((np.ones(len(ids)), ids, offsets), shape=(len(texts), len(columns)))


def weigh(matrix: sparse.csr_matrix, weights: Array) -> sparse.csr_matrix:
    """Return rows of ones and zeros times the weights of the columns, each row scaled to length 1.
    A row without an n-gram, or only with weights of 0, stays 0.
    """
    values, n_rows = weights[matrix.indices], matrix.shape[0]
    rows = np.repeat(np.arange(n_rows), np.diff(matrix.indptr))
    lengths = np.sqrt(np.bincount(rows, values**2, minlength=n_rows))
    scaled = values / np.where(lengths > 0, lengths, 1)[rows]
    return sparse.csr_matrix((scaled, matrix.indices, matrix.indptr), shape=matrix.shape)


def log_count_ratios(
    matrix: sparse.csr_matrix, is_positive: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]
) -> Array:
    """Return the log-count ratio of each n-gram: r = log((p / |p|₁) / (q / |q|₁)), where p and q
    are 1 + the numbers of positive and negative texts that contain it; 0 for ids outside `columns`.
    """
    p, q = (1 + (matrix.T @ rows.astype(float))[columns] for rows in (is_positive, ~is_positive))
    ratios = np.zeros(len(columns))
    ratios[columns] = np.log(p / p.sum()) - np.log(q / q.sum())
    return ratios


def inverse_document_frequencies(
    matrix: sparse.csr_matrix, columns: npt.NDArray[np.bool_]
) -> Array:
    """Return log((1 + n) / (1 + d)) + 1 for each n-gram that d of n texts contain, the formula of
    scikit-learn's TfidfVectorizer. Ids outside `columns` have 0.
    """
    counts = np.asarray(matrix.sum(axis=0)).ravel()
    weights: Array = (np.log((1 + matrix.shape[0]) / (1 + counts)) + 1) * columns
    return weights


def fit(
    matrix: sparse.csr_matrix,
    labels: Labels,
    columns: npt.NDArray[np.bool_],
    settings: NgramSettings,
) -> NgramModel:
    """Return a model that is trained on rows of `indicators`."""
    classes = np.unique(labels)
    # A single class needs no regression, and two classes need only the regression of the second.
    fitted = classes if len(classes) > 2 else classes[1:]
    rarity = (
        inverse_document_frequencies(matrix, columns)
        if settings.weighting == Weighting.RARITY
        else None
    )
    regressions = []
    for label in fitted:
        is_positive = labels == label
        weights = log_count_ratios(matrix, is_positive, columns) if rarity is None else rarity
        regressions.append(_fit_regression(matrix, is_positive, weights, settings.strength))
    return NgramModel(settings, classes, regressions)


def binary_regression(strength: float) -> LogisticRegression:
    """Return a logistic regression of two classes with this C, which is not trained yet. Its solver
    penalizes the intercept too, which makes no difference for thousands of texts.
    """
    return LogisticRegression(
        C=strength, solver="liblinear", dual=True, tol=TOLERANCE, random_state=0
    )


def _fit_regression(
    matrix: sparse.csr_matrix,
    is_positive: npt.NDArray[np.bool_],
    weights: Array,
    strength: float,
) -> _Regression:
    """Return a regression of one class against the rest, trained without the warning that the
    solver stopped at its last iteration: a reference needs no more precision.
    """
    classifier = binary_regression(strength)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(weigh(matrix, weights), is_positive)
    return _Regression(weights, classifier.coef_[0], float(classifier.intercept_[0]))
