"""N-grams weighted by how unequally the classes use them: a linear model as a Keras graph.

The source is Wang and Manning (2012), "Baselines and Bigrams: Simple, Good Sentiment and Topic
Classification". In the source, the weight of an n-gram is a trained factor times its log-count
ratio.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.preprocessing import normalize

from tuning.models.classifier import (
    TrainingOptions,
    class_activation,
    compile_classifier,
    output_width,
)
from tuning.regressions import above_median, fit_quietly, regression

# The n-grams of some texts, int32 (n_rows, n), or a dictionary with them under "ngrams".
Batch = npt.NDArray[np.int32] | dict[str, npt.NDArray[np.int32]]

RATIOS, WEIGHTS, LOGITS = "log_count_ratios", "ngram_weights", "ngram_logits"
WEIGHTINGS = (RATIOS, "inverse_document_frequencies")
UNIT_LENGTH = "unit_length"
# Maximum number of texts that `fit_linear_model` reads. A text has some 300 n-grams, each of which
# needs 30 bytes, so the fit needs about 450 MB.
MAX_FITTED_TEXTS = 50_000
# Maximum number of rows of the tables in `ngram_logits`.
_MAX_ROWS = ContextVar("_MAX_ROWS", default=sys.maxsize)
# With a learning rate of 0.001 a model of ratios alone is not trained after five epochs. A model
# that `fit_linear_model` has set keeps its accuracy with 0.001 and a dropout of 0.5, and not with
# 0.005 (docs/training.md).
DEFAULT_NGRAM_TRAINING = TrainingOptions(learning_rate=5e-3)


@contextlib.contextmanager
def at_most_rows(n_rows: int | None) -> Iterator[None]:
    """Limit the tables of n-grams to the ids that the data have: a trial whose vocabulary is larger
    gives the same predictions, and an export of 30 labels of short texts took 721 MB.
    """
    token = _MAX_ROWS.set(sys.maxsize if n_rows is None else n_rows)
    try:
        yield
    finally:
        _MAX_ROWS.reset(token)


def ngram_logits(
    ngrams: keras.KerasTensor,
    *,
    vocab_size: int,
    n_outputs: int,
    dropout: float = 0.0,
    rate: float = 1.0,
    unit_length: bool = False,
) -> keras.KerasTensor:
    """Return the sum of the weights of a text's n-grams over the square root of their number, or
    with `unit_length` over the length of the vector of their ratios.

    The weight of an n-gram is its log-count ratio, which `fit_ratios` sets and which starts at 1,
    times 1 + `rate` × a trained number, which starts at 0 or where `fit_linear_model` sets it.

    Args:
        ngrams: int32 ids of the distinct n-grams of each text, (batch, n); 0 is padding.
        vocab_size: number of ids, padding and unknown included. In a search, the tables have no
            more rows than the data have ids.
        n_outputs: 1 for two classes or a number, else the number of classes or labels.
        dropout: share of a text's n-grams that are left out in training.
        rate: how many times faster than at the optimizer's learning rate the weights are trained.
        unit_length: whether texts are scaled as in the tuned linear model of a search, so that
            `fit_linear_model` gives the same model. Each output has ratios of its own.

    Returns:
        float32 tensor of shape (batch, n_outputs).
    """
    ops, n_rows = keras.ops, min(vocab_size, _MAX_ROWS.get())
    ratios = keras.layers.Embedding(
        n_rows, n_outputs, embeddings_initializer="ones", trainable=False, name=RATIOS
    )(ngrams)
    trained = keras.layers.Embedding(
        n_rows, n_outputs, embeddings_initializer="zeros", name=WEIGHTS
    )(ngrams)
    present = ops.expand_dims(ops.cast(ops.not_equal(ngrams, 0), "float32"), -1)
    terms = ops.multiply(ratios, present)
    if unit_length:
        # The minimum is for a text without n-grams.
        squares = ops.maximum(ops.sum(ops.multiply(terms, terms), axis=1), 1e-6)
        # `fit_linear_model` finds the layer by its name.
        squares = keras.layers.Activation("linear", name=UNIT_LENGTH)(squares)
    else:
        squares = ops.maximum(ops.sum(present, axis=1), 1.0)
    if dropout:
        kept = keras.layers.Dropout(dropout, name="ngram_dropout")(present)
        terms = ops.multiply(terms, kept)
    change = ops.sum(ops.multiply(terms, trained), axis=1)
    logits = ops.add(ops.sum(terms, axis=1), ops.multiply(change, rate))
    return ops.divide(logits, ops.sqrt(squares))


def scaled(logits: keras.KerasTensor, *, start: str = "identity") -> keras.KerasTensor:
    """Return the logits times trained numbers that start at 1, plus a bias, (batch, n_outputs).

    With `start="zeros"`, the result is 0 until `fit_linear_model` sets the weights.
    """
    return keras.layers.Dense(logits.shape[-1], kernel_initializer=start, name=LOGITS)(logits)


def ngram_classifier(
    *,
    vocab_size: int,
    dropout: float = 0.0,
    unit_length: bool = False,
    n_classes: int = 2,
    multi_label: bool = False,
    training: TrainingOptions = DEFAULT_NGRAM_TRAINING,
) -> keras.Model:
    """Return a compiled classifier of n-grams.

    The model's input "ngrams" is int32 ids (batch, n) of the distinct n-grams of each text, 0 for
    padding. Its output is that of `lstm_classifier`.

    Args:
        vocab_size: number of n-gram ids, padding and unknown included.
        dropout: share of a text's n-grams that are left out in training.
        unit_length: as for `ngram_logits`.
        n_classes, multi_label, training: as for `words_classifier`.
    """
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    logits = ngram_logits(
        ngrams,
        vocab_size=vocab_size,
        n_outputs=output_width(n_classes, multi_label),
        dropout=dropout,
        unit_length=unit_length,
    )
    outputs = class_activation(n_classes, multi_label)(scaled(logits))
    model = keras.Model(ngrams, outputs, name="ngrams")
    return compile_classifier(
        model, n_classes=n_classes, multi_label=multi_label, training=training
    )


def fit_ratios(
    model: keras.Model,
    batches: Iterable[Batch],
    labels: npt.NDArray[Any],
    *,
    n_classes: int = 2,
    weighting: str = RATIOS,
) -> None:
    """Set the log-count ratios of a model that has `ngram_logits`, or other weights in their place.

    The ratio of an n-gram is log((p / Σp) / (q / Σq)). p is 1 + the number of the class's texts
    with the n-gram, q is 1 + the number of all other texts with it. A model of two classes has the
    ratios of class 1; with more classes, or with several labels, each has its column. For numbers,
    class 1 are the texts above the median.

    Args:
        model: its layer named `RATIOS` gets the ratios.
        batches: the model's input for the training texts, in the order of `labels`.
        labels: class numbers, int64 (n_texts,); numbers for `n_classes=1`; or 0 and 1 for each of
            several labels, (n_texts, n_labels).
        n_classes: number of classes; 1 for numbers.
        weighting: one of `WEIGHTINGS`. The inverse document frequency of an n-gram that d of n
            texts contain is log((1 + n) / (1 + d)) + 1, over the quadratic mean of all texts.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}; it is {weighting!r}.")
    if n_classes == 1:
        labels, n_classes = above_median(labels).astype(np.int64), 2
    layer = model.get_layer(RATIOS)
    n_texts = np.zeros(layer.input_dim)  # with each n-gram
    n_positive = np.zeros((layer.output_dim, layer.input_dim))
    first = 0
    for batch in batches:
        ngrams = _ngrams_of(batch)
        columns = _columns(labels[first : first + len(ngrams)], n_classes)
        first += len(ngrams)
        np.add.at(n_texts, ngrams.ravel(), 1.0)
        for number in np.flatnonzero(columns.any(axis=0)):
            np.add.at(n_positive[number], ngrams[columns[:, number]].ravel(), 1.0)
    seen = np.flatnonzero(n_texts[2:]) + 2  # The ids 0 and 1 are padding and unknown n-grams.
    if weighting == RATIOS:
        layer.set_weights([_log_count_ratios(n_positive, n_texts, seen)])
    else:
        weights = _inverse_document_frequencies(n_texts, seen, n_texts=len(labels))
        layer.set_weights([np.repeat(weights[:, None], layer.output_dim, axis=1)])


def fit_linear_model(
    model: keras.Model,
    batches: Iterable[Batch],
    labels: npt.NDArray[Any],
    *,
    c: float,
    rate: float = 1.0,
    n_classes: int = 2,
    weighting: str = RATIOS,
    sample_weight: npt.NDArray[np.float32] | None = None,
) -> None:
    """Set the log-count ratios as `fit_ratios` does, and the weights of the n-grams to those of a
    logistic regression, or of a ridge regression for numbers, on the scale of `class_activation`:
    the training begins at the linear model of the source.

    With more than two classes, one regression is fitted for each class, against the rest, and with
    several labels one for each label. A class without a text keeps the ratios as its weights, or
    starts at its smoothed frequency where the weights are inverse document frequencies, which say
    nothing about a class.

    Args:
        model: a model that has `ngram_logits` and `scaled`.
        batches, labels: as for `fit_ratios`. The regression reads `MAX_FITTED_TEXTS` texts at most,
            drawn at random.
        c: the inverse strength of the regularization, scikit-learn's C.
        rate: the model's `rate`.
        n_classes, weighting: as for `fit_ratios`.
        sample_weight: the weight of each text in the regression, (n_texts,), of which the ratio to
            the mean counts. A text with the weight 0 is left out. The log-count ratios do not
            depend on other weights.
    """
    if n_classes == 1:
        labels = (labels - labels.mean()) / (labels.std() or 1.0)
    is_learned = np.ones(len(labels), np.bool_) if sample_weight is None else sample_weight > 0
    is_kept = np.zeros(len(labels), np.bool_)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(is_learned))[:MAX_FITTED_TEXTS]
    is_kept[chosen] = True
    kept: list[npt.NDArray[np.int32]] = []
    read = _learned(batches, is_learned, is_kept, kept)
    fit_ratios(model, read, labels[is_learned], n_classes=n_classes, weighting=weighting)
    ratios, weights = (model.get_layer(name).get_weights()[0] for name in (RATIOS, WEIGHTS))
    _, bias = model.get_layer(LOGITS).get_weights()
    unit_length = any(layer.name == UNIT_LENGTH for layer in model.layers)
    labels = labels[is_kept]
    weight = None if sample_weight is None else sample_weight[is_kept]
    columns = [labels] if n_classes == 1 else [*_columns(labels, n_classes).T]
    for column, values in enumerate(columns):
        if len(np.unique(values)) > 1:
            terms = _terms(kept, ratios[:, column], unit_length=unit_length)
            fitted = fit_quietly(regression(values, c), terms, values, weight)
            # The model multiplies each term by 1 + rate × weight.
            weights[:, column] = (np.ravel(fitted.coef_) - 1) / rate
            bias[column] = np.ravel(fitted.intercept_)[0]
        elif weighting != RATIOS or n_classes == 1:
            weights[:, column] = -1 / rate  # The factor 1 + rate × weight is 0.
            n_positive, n = values.sum(), len(values)
            bias[column] = (
                values[0] if n_classes == 1 else np.log((1 + n_positive) / (1 + n - n_positive))
            )
    model.get_layer(WEIGHTS).set_weights([weights])
    model.get_layer(LOGITS).set_weights([np.eye(len(bias)), bias])


def _columns(labels: npt.NDArray[np.int64], n_classes: int) -> npt.NDArray[np.bool_]:
    """Return whether each text has the class or label of each output, bool (n_texts, n_outputs):
    class 1 alone for two classes.
    """
    classes = np.arange(1, 2) if n_classes == 2 else np.arange(n_classes)
    has: npt.NDArray[np.bool_] = labels > 0 if labels.ndim == 2 else labels[:, None] == classes
    return has


def _ngrams_of(batch: Batch) -> npt.NDArray[np.int32]:
    return batch["ngrams"] if isinstance(batch, dict) else batch


def _learned(
    batches: Iterable[Batch],
    is_learned: npt.NDArray[np.bool_],
    is_kept: npt.NDArray[np.bool_],
    kept: list[npt.NDArray[np.int32]],
) -> Iterator[npt.NDArray[np.int32]]:
    """Yield the n-grams of the learned texts of batches, and append those of each kept text to
    `kept`.
    """
    first = 0
    for batch in batches:
        ngrams = _ngrams_of(batch)
        rows = slice(first, first + len(ngrams))
        kept += [row[row != 0] for row in ngrams[is_kept[rows]]]
        first += len(ngrams)
        yield ngrams[is_learned[rows]]


def _terms(
    texts: list[npt.NDArray[np.int32]], ratios: npt.NDArray[np.float32], *, unit_length: bool
) -> sparse.csr_matrix:
    """Return the terms of `ngram_logits`: the scaled ratio of each n-gram of a text."""
    starts = np.cumsum([0, *map(len, texts)])
    ids = np.concatenate(texts)
    values = ratios.astype(np.float64)[ids]
    terms = sparse.csr_matrix((values, ids, starts), shape=(len(texts), len(ratios)))
    if unit_length:
        return normalize(terms, copy=False)
    terms.data /= np.repeat(np.sqrt(np.maximum(np.diff(starts), 1)), np.diff(starts))
    return terms


def _log_count_ratios(
    n_positive: npt.NDArray[np.float64],
    n_texts: npt.NDArray[np.float64],
    seen: npt.NDArray[np.intp],
) -> npt.NDArray[np.float32]:
    """Return the ratios of each id, float32 (n_ids, n_outputs), from the numbers of texts with the
    id: with the class or label of each output, (n_outputs, n_ids), and in all, (n_ids,).

    Padding, unknown n-grams and ids that no text has have the ratio 0. The sums of the definition
    are over the other ids, `seen`.
    """
    ratios = np.zeros(n_positive.shape[::-1], np.float32)
    for column, positive in enumerate(n_positive[:, seen]):
        p, q = 1 + positive, 1 + n_texts[seen] - positive
        ratios[seen, column] = np.log(p / p.sum()) - np.log(q / q.sum())
    return ratios


def _inverse_document_frequencies(
    n_with: npt.NDArray[np.float64], seen: npt.NDArray[np.intp], *, n_texts: int
) -> npt.NDArray[np.float64]:
    """Return the weight of each id, (n_ids,), from the number of texts with the id."""
    weights = np.zeros(len(n_with))
    rarity = np.log((1 + n_texts) / (1 + n_with[seen])) + 1
    # The terms of a text then have a length of about 1, for which the linear model chooses C.
    # Without this scale their length was about 5, and a chosen C of 1 had the effect of 25.
    mean_square = np.average(rarity**2, weights=n_with[seen]) if len(seen) else 1.0
    weights[seen] = rarity / np.sqrt(mean_square)
    return weights
