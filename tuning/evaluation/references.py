"""References for a comparison with a tuned model, which train in seconds: the best constants, and
TF-IDF with a linear regression. `ngram_model` has the third, which is tuned further.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

from tuning.evaluation.linear_reference import LinearTask
from tuning.metrics import sign
from tuning.regressions import fit_quietly, regression, scores_of
from tuning.targets.target import Array, Labels, Target

N_TERMS = 100_000
# Maximum number of texts of train + validation: more take minutes and improve a linear model
# little.
MAX_TEXTS = 100_000
STRENGTHS = (0.5, 2.0, 8.0, 32.0)  # values of C, chosen on the validation split
MAX_ITERATIONS = 300
# Words, and runs of punctuation between them, so that every text has a token.
WORD_PATTERN = r"(?u)\w+|[^\w\s]+"


@dataclass(frozen=True)
class Reference:
    """A reference that was trained on train + validation, as an exported model is, its predictions
    for the test texts, (n_texts, width), and the seconds of both.
    """

    about: str
    predictions: Array
    seconds: float


Texts = TypeVar("Texts")


class Split(NamedTuple, Generic[Texts]):
    """The texts of a split, or their n-grams, with their labels, and the weights of the rows, (n,),
    or None if all are equal.
    """

    texts: Texts
    labels: Labels
    weights: Array | None = None

    def part(self, rows: npt.NDArray[np.intp], texts: Texts) -> Split[Texts]:
        weights = None if self.weights is None else self.weights[rows]
        return Split(texts, self.labels[rows], weights)


def both(train: Split[Texts], validation: Split[Texts], texts: Texts) -> Split[Texts]:
    weights = None
    if train.weights is not None and validation.weights is not None:
        weights = np.concatenate([train.weights, validation.weights])
    return Split(texts, np.concatenate([train.labels, validation.labels]), weights)


def learned(
    rows: Split[sparse.csr_matrix], *, target: Target, task: LinearTask
) -> Split[sparse.csr_matrix]:
    """Return the rows that a linear model learns from, with their weights in its loss."""
    weights = target.text_weights(task.class_weight, rows.labels, rows.weights)
    if weights is None or weights.all():
        return rows._replace(weights=weights)
    # Log-count ratios and constants count texts without their weights.
    kept = np.flatnonzero(weights)
    return rows._replace(weights=weights).part(kept, rows.texts[kept])


def gain(labels: Labels, predictions: Array, *, target: Target, task: LinearTask) -> float:
    """Return the value by which linear models are tuned, signed so that more is better."""
    metric = task.objective(target)
    value = sign(metric) * target.value(labels, predictions, metric=metric)
    # `max` with a NaN would take whichever comes first.
    return -math.inf if math.isnan(value) else value


def references(
    train: Split[list[str]],
    validation: Split[list[str]],
    test_texts: Sequence[str],
    *,
    target: Target,
    task: LinearTask,
) -> dict[str, Reference]:
    labels = np.concatenate([train.labels, validation.labels])
    constants = {
        name: Reference(
            target.constant_names[name], np.tile(same, (len(test_texts), 1)), seconds=0.0
        )
        for name, same in target.constants(labels).items()
    }
    linear = linear_model(train, validation, test_texts, target=target, task=task)
    return {**constants, f"TF-IDF + {target.regression_name}": linear}


def linear_model(
    train: Split[list[str]],
    validation: Split[list[str]],
    test_texts: Sequence[str],
    *,
    target: Target,
    task: LinearTask,
) -> Reference:
    """Return a regression on words and pairs of words weighted by TF-IDF, with the C of `STRENGTHS`
    that has the best value of the task's metric on the validation split.

    A class without texts in both splits has the probability 0.
    """
    started = time.monotonic()
    share = min(MAX_TEXTS / (len(train.labels) + len(validation.labels)), 1.0)
    train, validation = (_part(split, target, share) for split in (train, validation))
    # All texts are split into words once, which takes longer than the regressions. So the most
    # frequent terms are those of both splits together.
    counter = CountVectorizer(
        ngram_range=(1, 2), max_features=N_TERMS, token_pattern=WORD_PATTERN, dtype=np.float32
    )
    counts = counter.fit_transform([*train.texts, *validation.texts])
    # Terms of the validation split alone have no weight, but would change the lengths of its rows.
    n_train = len(train.labels)
    known = np.flatnonzero(counts[:n_train].getnnz(axis=0))
    of_train, of_validation = counts[:n_train, known], counts[n_train:, known]
    weights = TfidfTransformer(sublinear_tf=True).fit(of_train)
    terms, held_out = weights.transform(of_train), weights.transform(of_validation)
    rows = learned(train._replace(texts=terms), target=target, task=task)
    tried = {strength: _predicted(target, strength, rows, held_out) for strength in STRENGTHS}
    gains = {c: gain(validation.labels, p, target=target, task=task) for c, p in tried.items()}
    best = max(STRENGTHS, key=lambda strength: (gains[strength], -strength))
    weights.fit(counts)
    test_terms = weights.transform(counter.transform(list(test_texts)))
    joined = both(train, validation, weights.transform(counts))
    rows = learned(joined, target=target, task=task)
    predictions = _predicted(target, best, rows, test_terms)
    about = (
        f"words and pairs of words, {counts.shape[1]:,} terms, C = {best:g} by validation,"
        f" {len(joined.labels):,} texts"
    )
    return Reference(about, predictions, time.monotonic() - started)


def _part(split: Split[list[str]], target: Target, share: float) -> Split[list[str]]:
    rows = rows_of_part(target.strata(split.labels), share)
    return split.part(rows, [split.texts[row] for row in rows])


def rows_of_part(strata: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.intp]:
    """Return the rows of a share of each stratum's texts, evenly spaced, with at least one text of
    each stratum.
    """

    def part_of(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        n = max(round(share * len(rows)), 1)
        places: npt.NDArray[np.intp] = np.linspace(0, len(rows) - 1, n).round().astype(np.intp)
        return rows[places]

    by_stratum = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    return np.sort(np.concatenate([part_of(rows) for rows in by_stratum]))


def _predicted(
    target: Target, strength: float, rows: Split[sparse.csr_matrix], x: sparse.csr_matrix
) -> Array:
    """Return the predictions for the rows of `x` of a model that is trained on `rows`."""
    terms, labels, weights = rows
    constant, columns = target.constant(labels), target.linear_columns(labels)
    same = np.tile(constant, (x.shape[0], 1))
    if labels.ndim == 1 and len(columns) > 1:
        softmax = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
        same[:, constant > 0] = fit_quietly(softmax, terms, labels, weights).predict_proba(x)
        return same
    scores = {
        number: scores_of(fit_quietly(regression(values, strength), terms, values, weights), x)
        for number, values in columns.items()
    }
    return target.of_linear(scores, same)
