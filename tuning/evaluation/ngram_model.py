"""A linear model on the n-grams of a corpus: regression on n-grams that are weighted by naive Bayes
log-count ratios (Wang and Manning, ACL 2012) or by inverse document frequencies. Its order, its
weighting and C are tuned on the validation split, or on folds.

A text is the set of its n-grams. Each n-gram has a weight, and the weights of a text are scaled to
length 1. A logistic regression is trained for each column of 0 and 1 that a target asks for
(`Target.linear_columns`), such as one for each of several classes, and a ridge regression for a
column of numbers, whose ratios compare the texts above the median with the others.
"""

from __future__ import annotations

import math
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import normalize

from tuning import documents
from tuning.atomic_io import translated
from tuning.data.redraw import redrawn
from tuning.data.rows import Redraw
from tuning.evaluation.linear_reference import (
    LinearReference,
    LinearTask,
    NgramSettings,
    Weighting,
    read_linear_reference,
)
from tuning.evaluation.references import (
    MAX_TEXTS,
    Reference,
    Split,
    both,
    constants,
    gain,
    learned,
    rows_of_part,
)
from tuning.inputs.contract import IdTexts
from tuning.inputs.corpus import Corpus
from tuning.inputs.ngram_vocabulary import build_ngrams
from tuning.inputs.ngrams import ngrams_of
from tuning.metrics import metric_of
from tuning.regressions import above_median, fit_quietly, regression, scores_of
from tuning.targets.target import Array, Target

STRENGTHS = (1.0, 3.0, 10.0, 30.0)  # values of C, chosen on the validation split
# The C with which orders and weightings are compared. With it, n-grams of one to three words that
# are weighted by ratios have a validation accuracy of 0.889 on the Amazon reviews and of 0.886 on
# the film reviews, where TF-IDF on the same n-grams has 0.880 and 0.882 (70/15/15, seed 0).
FIRST_STRENGTH = 10.0
# Maximum number of texts times regressions: 100 classes of 100,000 texts would take an hour.
MAX_TEXT_FITS = 4 * MAX_TEXTS
# Maximum number of n-grams of train + validation. liblinear needs about 50 bytes for each of them.
MAX_IDS = 20_000_000
NAMES = ("words", "pairs", "triples")

Ngrams = Split[IdTexts]
Pair = Sequence[Ngrams]  # the rows for training and for validation
# The mean gain of settings over pairs, the settings, and the predictions for the validation rows.
_Tried = tuple[float, NgramSettings, list[Array]]


@dataclass(frozen=True)
class NgramModel:
    """A trained model: the constant prediction of its training texts, (width,), and for each of
    `Target.linear_columns` the weights of the n-grams and the regression.
    """

    constant: Array
    regressions: dict[int, tuple[Array, LogisticRegression | Ridge]]

    def predictions(self, matrix: sparse.csr_matrix, *, target: Target) -> Array:
        scores = {
            column: scores_of(fitted, weigh(matrix, weights))
            for column, (weights, fitted) in self.regressions.items()
        }
        same = np.tile(self.constant, (matrix.shape[0], 1))
        return target.of_linear(scores, same)


def columns_of(orders: npt.NDArray[np.uint8], order: int) -> npt.NDArray[np.bool_]:
    """Return whether each id has 1 to `order` words; padding and unknown have the order 0."""
    return (orders > 0) & (orders <= order)


def indicators(texts: IdTexts, columns: npt.NDArray[np.bool_]) -> sparse.csr_matrix:
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
    values = weights[matrix.indices], matrix.indices, matrix.indptr
    return normalize(sparse.csr_matrix(values, shape=matrix.shape), copy=False)


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


def fit(
    rows: Split[sparse.csr_matrix],
    columns: npt.NDArray[np.bool_],
    settings: NgramSettings,
    *,
    target: Target,
) -> NgramModel:
    """Train the model. An n-gram that no training row has gets the weight 0, as in the models of
    the search: the vocabulary of folds also has the n-grams of their held-out rows.
    """
    matrix, labels, of_rows = rows
    columns = columns & (matrix.getnnz(axis=0) > 0)
    is_rarity, regressions = settings.weighting == Weighting.RARITY, {}
    rarity = TfidfTransformer().fit(matrix).idf_ * columns if is_rarity else None
    for number, values in target.linear_columns(labels).items():
        is_positive = values if values.dtype == np.bool_ else above_median(values)
        weights = log_count_ratios(matrix, is_positive, columns) if rarity is None else rarity
        terms, untrained = weigh(matrix, weights), regression(values, settings.strength)
        fitted = fit_quietly(untrained, terms, values, of_rows)
        regressions[number] = weights, fitted
    return NgramModel(target.constant(labels), regressions)


def all_references(corpus: Corpus, *, task: LinearTask) -> dict[str, Reference]:
    """Return the references of the test split, with their predictions for it."""
    target = corpus.target
    train, validation = split_of(corpus, "train"), split_of(corpus, "validation")
    tuned = ngram_reference(
        train,
        validation,
        ngrams_of(corpus.split("test").texts),
        tuned=fit_linear_reference(corpus, task),
        orders=corpus.ngram_orders,
        target=target,
        task=task,
    )
    same = constants(train.labels, validation.labels, len(tuned.predictions), target=target)
    return {**same, f"tuned n-grams + {target.regression_name}": tuned}


def ngram_reference(
    train: Ngrams,
    validation: Ngrams,
    test: IdTexts,
    *,
    tuned: LinearReference,
    orders: npt.NDArray[np.uint8],
    target: Target,
    task: LinearTask,
) -> Reference:
    """Return the tuned model, trained on train + validation. Its seconds are those of the tuning
    and of the training.

    The n-grams of a text are distinct ids, and `orders` has the number of words of each id.
    """
    started, settings = time.monotonic(), tuned.settings
    assert settings is not None  # `LinearReference.is_usable`
    train, validation = _parts(train, validation, target=target)
    columns = columns_of(orders, settings.order)
    joined = both(train, validation, train.texts + validation.texts)
    rows = learned(_indicated(joined, columns), target=target, task=task)
    model = fit(rows, columns, settings, target=target)
    seconds = tuned.seconds + time.monotonic() - started
    return Reference(
        f"{tuned.about}, {len(joined.labels):,} texts",
        model.predictions(indicators(test, columns), target=target),
        seconds,
    )


def fit_linear_reference(corpus: Corpus, task: LinearTask) -> LinearReference:
    """Return the stored scores and settings of a corpus. Without them, train the model and store
    them.
    """
    path = task.path(corpus.folder)
    # Studies share a corpus: a second process waits for the first, and then reads its file.
    with translated(path), FileLock(path.with_name(path.name + ".lock")):
        stored = read_linear_reference(corpus.folder, task)
        if stored is None or not stored.is_usable:
            build_ngrams(corpus, n_threads=1)
            stored = tuned_reference(
                pairs_of(corpus, task),
                orders=corpus.ngram_orders,
                target=corpus.target,
                task=task,
            )
            documents.write(path, stored)
    return stored


def pairs_of(corpus: Corpus, task: LinearTask) -> Iterator[Pair]:
    """Return the rows for training and for validation: of the splits, or of each fold."""
    train, validation = split_of(corpus, "train"), split_of(corpus, "validation")
    if task.folds is None:
        yield train, validation
        return
    rows = both(train, validation, train.texts + validation.texts)
    for fold in redrawn(corpus.rows, task.folds):
        yield [rows.part(places, rows.texts.rows(places)) for places in fold]


def tuned_reference(
    pairs: Iterable[Pair],
    *,
    orders: npt.NDArray[np.uint8],
    target: Target,
    task: LinearTask,
) -> LinearReference:
    started = time.monotonic()
    # Each fold is a copy of the data. Of large data a sample is kept before the next copy is made.
    parts = [_parts(*pair, target=target) for pair in pairs]
    settings, predictions = tune_ngram_model(parts, orders=orders, target=target, task=task)
    of_pairs = [
        target.score(validation.labels, of_pair)
        for (_, validation), of_pair in zip(parts, predictions, strict=True)
    ]
    scores = {name: statistics.fmean(s[name] for s in of_pairs) for name in of_pairs[0]}
    *others, last = NAMES[: settings.order]
    names = f"{', '.join(others)} and {last} of words" if others else last
    about = (
        f"{names}, {columns_of(orders, settings.order).sum():,} n-grams weighted by"
        f" {settings.weighting}, C = {settings.strength:g}, chosen by validation"
        f" {metric_of(task.objective(target)).label}"
        f"{f' on {len(parts)} folds' if task.folds else ''}"
    )
    return LinearReference(
        name=target.regression_name,
        about=about,
        scores={name: None if math.isnan(value) else value for name, value in scores.items()},
        seconds=round(time.monotonic() - started, 1),
        settings=settings,
    )


def tune_ngram_model(
    pairs: Sequence[Pair],
    *,
    orders: npt.NDArray[np.uint8],
    target: Target,
    task: LinearTask,
) -> tuple[NgramSettings, list[Array]]:
    """Return the settings with the best mean value of the task's metric over the pairs of rows for
    training and for validation, and the predictions of their models for the validation rows of each
    pair, each trained on the training rows of the pair alone.

    The order and the weighting are chosen first, with `FIRST_STRENGTH`, then C.
    """

    def best_of(order: int, choices: Sequence[tuple[Weighting, float]]) -> _Tried:
        columns = columns_of(orders, order)
        tried = [NgramSettings(order, *choice) for choice in choices]
        gains: list[list[float]] = [[] for _ in tried]
        predictions: list[list[Array]] = [[] for _ in tried]
        for train, validation in pairs:
            rows = learned(_indicated(train, columns), target=target, task=task)
            held_out = indicators(validation.texts, columns)
            for number, settings in enumerate(tried):
                model = fit(rows, columns, settings, target=target)
                own = model.predictions(held_out, target=target)
                predictions[number].append(own)
                gains[number].append(gain(validation.labels, own, target=target, task=task))
        means = map(statistics.fmean, gains)
        # The first of equal models is taken: the lowest order, ratios, and the smallest C.
        return max(zip(means, tried, predictions, strict=True), key=itemgetter(0))

    first = [(weighting, FIRST_STRENGTH) for weighting in Weighting]
    max_order = max(int(orders.max(initial=1)), 1)
    by_order = [best_of(order, first) for order in range(1, max_order + 1)]
    _, chosen, _ = max(by_order, key=itemgetter(0))
    choices = [(chosen.weighting, strength) for strength in STRENGTHS]
    _, settings, predictions = best_of(chosen.order, choices)
    return settings, predictions


def split_of(corpus: Corpus, name: str) -> Ngrams:
    build_ngrams(corpus)
    split = corpus.split(name)
    return Split(ngrams_of(split.texts), split.labels, split.weights)


def _indicated(split: Ngrams, columns: npt.NDArray[np.bool_]) -> Split[sparse.csr_matrix]:
    return Split(indicators(split.texts, columns), split.labels, split.weights)


def _parts(*splits: Ngrams, target: Target) -> Pair:
    n_texts = sum(len(split.texts) for split in splits)
    n_ids = sum(len(split.texts.ids) for split in splits)
    n_regressions = max(len(target.linear_columns(split.labels)) for split in splits)
    max_texts = min(MAX_TEXTS, MAX_TEXT_FITS / max(n_regressions, 1))
    share = min(max_texts / n_texts, MAX_IDS / max(n_ids, 1))
    if share >= 1:
        return splits
    parts = []
    for split in splits:
        rows = rows_of_part(target.strata(split.labels), share)
        parts.append(split.part(rows, split.texts.rows(rows)))
    return parts


def _end_with_parent() -> None:
    # Standard input is closed when the parent process has ended. The buffer of `sys.stdin` has a
    # lock, which must be free when this process ends by itself.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main(folder: str, niceness: str, metric: str, class_weight: str, *folds: str) -> None:
    # Ctrl-C reaches all processes of a terminal. The parent ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(int(niceness))
    seed, n_folds = map(int, folds)
    task = LinearTask(metric, class_weight, Redraw.into_folds(seed=seed, n_folds=n_folds))
    fit_linear_reference(Corpus(Path(folder)), task)


if __name__ == "__main__":
    main(*sys.argv[1:])
