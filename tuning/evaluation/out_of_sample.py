"""The out-of-sample predictions of a configuration: those that the repeats of a confirmation have
kept, each for rows on which it was not trained.

| repeats | rows that each predicts |
|---|---|
| on folds | all rows that are not test, except the first in time |
| on the study's split | the validation split |
| on fresh splits | the validation rows that its seed has drawn |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tuning.config import SPLITS
from tuning.data.redraw import redrawn
from tuning.data.rows import Numbers, Redraw
from tuning.evaluation.predictions import read_probabilities
from tuning.inputs.corpus import Corpus
from tuning.results import StudyDir
from tuning.targets.target import Array, Labels


class Repeated(Protocol):
    """A `Confirmation`, whose package imports this one."""

    @property
    def all_seeds(self) -> list[int]: ...
    @property
    def is_resplit(self) -> bool: ...


@dataclass(frozen=True)
class RepeatPredictions:
    """The predictions of a repeat, float32 (n, width), for the rows with these places, int64 (n,),
    among the rows of the training and then the validation split.
    """

    seed: int
    places: Numbers
    predictions: Array


@dataclass(frozen=True)
class Rows:
    """Rows with labels, (n,), predictions, (n, width), and the numbers of their texts and
    `observations`, int64 (n,).
    """

    labels: Labels
    predictions: Array
    texts: Numbers
    observations: Numbers


@dataclass(frozen=True)
class OutOfSample:
    """The rows that a repeat of a configuration predicted.

    Attributes:
        places: their places among the rows of the training and then the validation split.
        labels: (n,).
        predictions: the mean over the repeats that predicted the row, float64 (n, width).
        pooled: the rows of each repeat, one repeat after the other. Thresholds and margins are
            those of these rows, because an export is a single model, and a mean over the repeats
            is less sure than single models.
    """

    places: Numbers
    labels: Labels
    predictions: Array
    pooled: Rows


def kept_predictions(
    folder: StudyDir, corpus: Corpus, confirmation: Repeated, *, trial: int
) -> Iterator[RepeatPredictions]:
    """Yield the predictions of the repeats of a trial's configuration. Files that are missing,
    damaged, or of other rows are left out.
    """
    n_train, n_validation = (len(corpus.split(name).labels) for name in SPLITS[:2])
    n_rows, is_resplit = n_train + n_validation, confirmation.is_resplit
    for seed in confirmation.all_seeds:
        kept = read_probabilities(folder.repeat_path(trial, seed, is_resplit=is_resplit))
        if kept is None:
            continue
        places = np.arange(n_rows)
        if len(kept) < n_rows and is_resplit:
            # The file has no row numbers: the seed draws the rows of the repeat again.
            share = n_validation / n_rows
            ((_, places),) = redrawn(corpus.rows, Redraw(seed=seed), validation_share=share)
        elif len(kept) < n_rows:
            places = places[n_train:]
        if kept.shape == (len(places), corpus.target.width):
            known = np.isfinite(kept).all(axis=1)  # No fold predicts the first rows in time.
            yield RepeatPredictions(seed, places[known], kept[known])


def out_of_sample(
    folder: StudyDir, corpus: Corpus, confirmation: Repeated, *, trial: int
) -> OutOfSample | None:
    """Return the rows that the repeats of a trial's configuration predicted; None if no repeat has
    kept predictions.
    """
    repeats = [*kept_predictions(folder, corpus, confirmation, trial=trial)]
    if not repeats:
        return None
    labels = np.concatenate([corpus.split(name).labels for name in SPLITS[:2]])
    total, n_repeats = np.zeros((len(labels), corpus.target.width)), np.zeros(len(labels))
    for repeat in repeats:
        total[repeat.places] += repeat.predictions
        n_repeats[repeat.places] += 1
    places, pooled = np.flatnonzero(n_repeats), np.concatenate([r.places for r in repeats])
    rows = corpus.rows.at(pooled)
    every = np.concatenate([repeat.predictions for repeat in repeats], dtype=np.float64)
    return OutOfSample(
        places,
        labels[places],
        total[places] / n_repeats[places, None],
        Rows(labels[pooled], every, rows.texts, rows.observations),
    )
