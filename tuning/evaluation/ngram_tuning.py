"""The linear model on the n-grams of a corpus, tuned on the validation split: its order, its
weighting and C.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tuning.data.corpus import Corpus, TokenizedTexts
from tuning.data.ngrams import build_ngrams
from tuning.data.splits import SplitReviews
from tuning.evaluation.linear_reference import (
    LinearReference,
    NgramSettings,
    Weighting,
    fit_linear_reference,
)
from tuning.evaluation.metrics import Array, Labels, score
from tuning.evaluation.ngram_model import (
    NgramModel,
    columns_of,
    fit,
    indicators,
)
from tuning.evaluation.references import (
    MAX_TEXTS,
    NGRAMS,
    Reference,
    references,
    rows_of_part,
)

STRENGTHS = (1.0, 3.0, 10.0, 30.0)  # values of C, chosen by validation accuracy
FIRST_STRENGTH = 10.0  # the C with which orders and weightings are compared (Wang and Manning)
# Maximum number of texts times regressions: 100 classes of 100,000 texts would take an hour.
MAX_TEXT_FITS = 4 * MAX_TEXTS
# Maximum number of n-grams of train + validation. liblinear needs about 50 bytes for each of them.
MAX_IDS = 20_000_000
NAMES = ("words", "pairs", "triples")

Split = tuple[TokenizedTexts, Labels]  # the n-grams of texts, and their classes


@dataclass(frozen=True)
class NgramReference:
    """A tuned model that was trained on train + validation, as an exported model is.

    Attributes:
        about: a description of the model.
        validation_accuracy: the accuracy of the same model trained on the training split alone.
        seconds: the time for tuning, perhaps with low priority beside the search, and for training.
    """

    about: str
    validation_accuracy: float
    seconds: float
    model: NgramModel
    columns: npt.NDArray[np.bool_]
    n_classes: int

    def classify(self, texts: TokenizedTexts) -> Array:
        """Return the class probabilities of texts with their n-grams, (n_texts, n_classes)."""
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


def all_references(
    splits: SplitReviews, corpus: Corpus, test_texts: Sequence[str]
) -> dict[str, Reference | NgramReference]:
    """Return all references by name, trained on train + validation."""
    train, validation = (
        (frame["text"].tolist(), frame["label"].to_numpy())
        for frame in (splits.frames["train"], splits.frames["validation"])
    )
    n_classes = len(splits.class_names)
    tuned = ngram_reference(
        split_of(corpus, "train"),
        split_of(corpus, "validation"),
        fit_linear_reference(corpus),
        orders=corpus.ngram_orders,
        n_classes=n_classes,
    )
    return {
        **references(train, validation, test_texts, n_classes=n_classes),
        NGRAMS: tuned,
    }


def ngram_reference(
    train: Split,
    validation: Split,
    tuned: LinearReference,
    *,
    orders: npt.NDArray[np.uint8],
    n_classes: int,
) -> NgramReference:
    """Return the tuned model, trained on train + validation.

    The n-grams of a text are distinct ids, and `orders` has the number of words of each id.
    """
    started, settings, accuracy = time.monotonic(), tuned.settings, tuned.scores["accuracy"]
    assert settings is not None and accuracy is not None  # `LinearReference.is_whole`
    texts, labels = _join(*_parts(train, validation))
    columns = columns_of(orders, settings.order)
    model = fit(indicators(texts, columns), labels, columns, settings)
    return NgramReference(
        about=f"{tuned.about}, {len(texts):,} texts",
        validation_accuracy=accuracy,
        seconds=tuned.seconds + time.monotonic() - started,
        model=model,
        columns=columns,
        n_classes=n_classes,
    )


def tuned_reference(
    train: Split, validation: Split, *, orders: npt.NDArray[np.uint8], n_classes: int
) -> LinearReference:
    """Return the scores and the settings of the model with the best validation accuracy."""
    started = time.monotonic()
    tuned = tune_ngram_model(train, validation, orders=orders, n_classes=n_classes)
    scores = score(tuned.labels, tuned.probabilities)
    return LinearReference(
        about=tuned.about,
        scores={name: None if math.isnan(value) else value for name, value in scores.items()},
        seconds=round(time.monotonic() - started, 1),
        settings=tuned.model.settings,
    )


def tune_ngram_model(
    train: Split,
    validation: Split,
    *,
    orders: npt.NDArray[np.uint8],
    n_classes: int,
) -> TunedNgramModel:
    """Return the model with the best validation accuracy, trained on the training split alone.

    The order and the weighting are chosen first, with C = 10, then C. Among equal models, a lower
    order is preferred, then ratios, then a smaller C.
    """
    train, validation = _parts(train, validation)

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
    """Return the n-grams and classes of a split of a corpus. Missing n-grams are built.

    Raises:
        StorageError: the results folder is full or read-only.
    """
    build_ngrams(corpus, n_threads=n_threads)
    split = corpus.split(name)
    assert split.texts.ngrams is not None  # They have been built.
    return split.texts.ngrams, split.labels


def _parts(*splits: Split) -> Sequence[Split]:
    """Return all texts of the splits, or a share of them above the maximum number."""
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
    """Return the texts of these rows. Only their ids are read from a memory map."""
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
