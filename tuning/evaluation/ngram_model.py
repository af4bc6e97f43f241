"""A linear model on the n-grams of a corpus, tuned on the validation split: logistic regression on
n-grams that are weighted by naive Bayes log-count ratios (Wang and Manning, ACL 2012).

A text is the set of its n-grams. Each n-gram has a weight, and the weights of a text are scaled to
length 1. With two classes one regression is trained; with more classes one for each class, against
the rest.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tuning.data.corpus import Corpus, TokenizedTexts
from tuning.data.ngrams import build_ngrams
from tuning.evaluation.metrics import Array, Labels
from tuning.evaluation.references import MAX_TEXTS, rows_of_part

STRENGTHS = (1.0, 3.0, 10.0, 30.0)  # values of C, chosen by validation accuracy
FIRST_STRENGTH = 10.0  # the C with which orders and weightings are compared (Wang and Manning)
# Maximum number of texts times regressions: 100 classes of 100,000 texts would take an hour.
MAX_TEXT_FITS = 4 * MAX_TEXTS
# Maximum number of n-grams of train + validation. liblinear needs about 50 bytes for each of them.
MAX_IDS = 20_000_000
# liblinear's dual solver with this tolerance trains on 18,000 texts with 360,000 n-grams in 0.3 s.
# Its primal solver takes 1.4 s, and the accuracies differ by at most 0.001.
TOLERANCE = 0.1
NAMES = ("words", "pairs", "triples")


Split = tuple[TokenizedTexts, Labels]  # the n-grams of texts, and their classes


class Weighting(StrEnum):
    """The weights of the n-grams."""

    RATIOS = "naive Bayes log-count ratios"
    RARITY = "inverse document frequencies"


@dataclass(frozen=True)
class NgramSettings:
    """What is tuned: the longest n-grams in words, their weights, and C of the regression."""

    order: int
    weighting: Weighting
    strength: float


@dataclass(frozen=True)
class _Regression:
    """One class against the rest: the weight of each n-gram, the coefficients, the intercept."""

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
        settings: what it was trained with.
        classes: the classes of its training texts, ascending.
        regressions: none for one class, one for two classes, else one for each class.
    """

    settings: NgramSettings
    classes: Labels
    regressions: list[_Regression]

    def probabilities(self, matrix: sparse.csr_matrix, *, n_classes: int) -> Array:
        """The class probabilities of texts, (n_texts, n_classes). A class without a training text
        has the probability 0.
        """
        columns = [regression.probabilities(matrix) for regression in self.regressions]
        if len(columns) == 1:
            columns = [1 - columns[0], columns[0]]
        found = np.stack(columns, axis=1) if columns else np.ones((matrix.shape[0], 1))
        probabilities = np.zeros((matrix.shape[0], n_classes))
        # The regressions of several classes are independent, so their sum is not 1.
        probabilities[:, self.classes] = found / np.maximum(
            found.sum(axis=1, keepdims=True), np.finfo(float).tiny
        )
        return probabilities


@dataclass(frozen=True)
class NgramReference:
    """A tuned model that was trained on train + validation, as an exported model is.

    Attributes:
        about: a description of the model.
        validation_accuracy: that of the model trained on the training split alone.
        seconds: the time for tuning and training.
    """

    about: str
    validation_accuracy: float
    seconds: float
    model: NgramModel
    columns: npt.NDArray[np.bool_]
    n_classes: int

    def classify(self, texts: TokenizedTexts) -> Array:
        """The class probabilities of texts whose n-grams were built, (n_texts, n_classes)."""
        assert texts.ngrams is not None  # They were built for the training of this model.
        matrix = indicators(texts.ngrams, self.columns)
        return self.model.probabilities(matrix, n_classes=self.n_classes)


@dataclass(frozen=True)
class TunedNgramModel:
    """A model that was trained on the training split alone, and its probabilities of the validation
    texts, which have these `labels`.
    """

    model: NgramModel
    n_ngrams: int
    labels: Labels
    probabilities: Array

    @property
    def accuracy(self) -> float:
        """The accuracy on the validation split."""
        return float(np.mean(self.probabilities.argmax(axis=1) == self.labels))

    @property
    def about(self) -> str:
        """A description of the model."""
        settings = self.model.settings
        *others, last = NAMES[: settings.order]
        names = f"{', '.join(others)} and {last} of words" if others else last
        return (
            f"{names}, {self.n_ngrams:,} n-grams weighted by {settings.weighting}, C ="
            f" {settings.strength:g}, chosen by validation accuracy"
        )


def ngram_reference(
    train: Split, validation: Split, *, orders: npt.NDArray[np.uint8], n_classes: int
) -> NgramReference:
    """The tuned model, trained on train + validation.

    The n-grams of a text are distinct ids, and `orders` has the number of words of each id.
    """
    started = time.monotonic()
    train, validation = _parts(train, validation)
    tuned = _tune(train, validation, orders=orders, n_classes=n_classes)
    settings, (texts, labels) = tuned.model.settings, _join(train, validation)
    columns = columns_of(orders, settings.order)
    return NgramReference(
        about=f"{tuned.about}, {len(texts):,} texts",
        validation_accuracy=tuned.accuracy,
        seconds=time.monotonic() - started,
        model=fit(indicators(texts, columns), labels, columns, settings),
        columns=columns,
        n_classes=n_classes,
    )


def tune_ngram_model(
    train: Split,
    validation: Split,
    *,
    orders: npt.NDArray[np.uint8],
    n_classes: int,
) -> TunedNgramModel:
    """The model with the best validation accuracy, trained on the training split alone.

    The order and the weighting are chosen first, with C = 10, then C. Of equal models, the first of
    these is chosen: lower order, ratios, smaller C.
    """
    train, validation = _parts(train, validation)
    return _tune(train, validation, orders=orders, n_classes=n_classes)


def _tune(
    train: Split,
    validation: Split,
    *,
    orders: npt.NDArray[np.uint8],
    n_classes: int,
) -> TunedNgramModel:
    def tried(order: int, choices: Sequence[tuple[Weighting, float]]) -> list[TunedNgramModel]:
        columns = columns_of(orders, order)
        terms, held_out = indicators(train[0], columns), indicators(validation[0], columns)
        models = [
            fit(terms, train[1], columns, NgramSettings(order, weighting, strength))
            for weighting, strength in choices
        ]
        return [
            TunedNgramModel(
                model,
                int(columns.sum()),
                validation[1],
                model.probabilities(held_out, n_classes=n_classes),
            )
            for model in models
        ]

    first = [(weighting, FIRST_STRENGTH) for weighting in Weighting]
    max_order = max(int(orders.max(initial=1)), 1)
    by_order = [model for order in range(1, max_order + 1) for model in tried(order, first)]
    chosen = max(by_order, key=lambda tuned: tuned.accuracy).model.settings
    by_strength = tried(chosen.order, [(chosen.weighting, strength) for strength in STRENGTHS])
    return max(by_strength, key=lambda tuned: tuned.accuracy)


def split_of(corpus: Corpus, name: str, *, n_threads: int | None = None) -> Split:
    """The n-grams and classes of a split of a corpus. The n-grams are built if the corpus has none.

    Raises:
        StorageError: the results folder is full or read-only.
    """
    build_ngrams(corpus, n_threads=n_threads)
    split = corpus.split(name)
    assert split.texts.ngrams is not None  # They have been built.
    return split.texts.ngrams, split.labels


def columns_of(orders: npt.NDArray[np.uint8], order: int) -> npt.NDArray[np.bool_]:
    """Which ids are n-grams of at most `order` words; padding and unknown have the order 0."""
    return (orders > 0) & (orders <= order)


def indicators(texts: TokenizedTexts, columns: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
    """The texts as rows of ones and zeros, (n_texts, n_ids): 1 for each n-gram of the text that is
    among `columns`.
    """
    kept = columns[texts.ids]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(kept)])[texts.offsets]
    ids = texts.ids[kept]
    return sparse.csr_matrix((np.ones(len(ids)), ids, offsets), shape=(len(texts), len(columns)))


def weigh(matrix: sparse.csr_matrix, weights: Array) -> sparse.csr_matrix:
    """Rows of ones and zeros times the weights of the columns, each row scaled to length 1. A row
    without an n-gram, or only with weights of 0, stays 0.
    """
    values, n_rows = weights[matrix.indices], matrix.shape[0]
    rows = np.repeat(np.arange(n_rows), np.diff(matrix.indptr))
    lengths = np.sqrt(np.bincount(rows, values**2, minlength=n_rows))
    scaled = values / np.where(lengths > 0, lengths, 1)[rows]
    return sparse.csr_matrix((scaled, matrix.indices, matrix.indptr), shape=matrix.shape)


def log_count_ratios(
    matrix: sparse.csr_matrix, is_positive: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]
) -> Array:
    """The log-count ratio of each n-gram: r = log((p / |p|₁) / (q / |q|₁)), where p and q are
    1 + the numbers of positive and negative texts that contain it. Ids outside `columns` have 0.
    """
    p, q = (1 + (matrix.T @ rows.astype(float))[columns] for rows in (is_positive, ~is_positive))
    ratios = np.zeros(len(columns))
    ratios[columns] = np.log(p / p.sum()) - np.log(q / q.sum())
    return ratios


def inverse_document_frequencies(
    matrix: sparse.csr_matrix, columns: npt.NDArray[np.bool_]
) -> Array:
    """log((1 + n) / (1 + d)) + 1 of n texts, of which d contain the n-gram, as scikit-learn's
    TfidfVectorizer has it. Ids outside `columns` have 0.
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
    """Train a model on rows of `indicators`."""
    classes = np.unique(labels)
    # One class is constant, and the second of two classes says everything about the first.
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


def _fit_regression(
    matrix: sparse.csr_matrix,
    is_positive: npt.NDArray[np.bool_],
    weights: Array,
    strength: float,
) -> _Regression:
    """Train one class against the rest, without the warning that the solver stopped at its last
    iteration: a reference needs no more precision.
    """
    classifier = LogisticRegression(
        C=strength, solver="liblinear", dual=True, tol=TOLERANCE, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(weigh(matrix, weights), is_positive)
    return _Regression(weights, classifier.coef_[0], float(classifier.intercept_[0]))


def _parts(*splits: Split) -> Sequence[Split]:
    """All texts of the splits, or a share of them if there are too many."""
    n_texts = sum(len(texts) for texts, _ in splits)
    n_ids = sum(len(texts.ids) for texts, _ in splits)
    n_classes = max(len(np.unique(labels)) for _, labels in splits)
    n_regressions = n_classes if n_classes > 2 else 1
    max_texts = min(MAX_TEXTS, MAX_TEXT_FITS / n_regressions)
    share = min(max_texts / n_texts, MAX_IDS / max(n_ids, 1))
    if share >= 1:
        return splits
    return [_take(split, rows_of_part(split[1], share)) for split in splits]


def _take(split: Split, rows: npt.NDArray[np.intp]) -> Split:
    """The texts of these rows. Only their ids are read from a memory map."""
    texts, labels = split
    lengths = texts.lengths[rows]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    places = np.repeat(texts.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return TokenizedTexts(texts.ids[places], offsets), labels[rows]


def _join(first: Split, second: Split) -> Split:
    (texts, labels), (others, more) = first, second
    ids = np.concatenate([texts.ids, others.ids])
    offsets = np.concatenate([texts.offsets, others.offsets[1:] + texts.offsets[-1]])
    return TokenizedTexts(ids, offsets), np.concatenate([labels, more])
