"""Split the rows that are not test again: a fresh split for another seed, or folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tuning.data.rows import Numbers, Redraw, Rows
from tuning.data.splits import SPLIT_KINDS
from tuning.errors import DataError

# Maximum number of draws for one seed.
MAX_DRAWS = 20


def redrawn(
    rows: Rows, redraw: Redraw, *, validation_share: float = 0.0
) -> list[tuple[Numbers, Numbers]]:
    """Return the places of the rows for training and for validation, both in order, of each fold,
    or of one split with this share of rows for validation.

    Groups, or weights of 0, may leave a stratum, such as a class, without rows that are learned.
    Then the seed draws again, up to `MAX_DRAWS` times. If no draw has all strata, the first counts.
    """
    first = folds = _drawn(rows, redraw, validation_share)
    for number in range(1, MAX_DRAWS):
        if _have_strata(rows, folds):
            return folds
        seed = int(np.random.default_rng([redraw.seed, number]).integers(2**31))
        folds = _drawn(rows, replace(redraw, seed=seed), validation_share)
    return folds if _have_strata(rows, folds) else first


def _have_strata(rows: Rows, folds: list[tuple[Numbers, Numbers]]) -> bool:
    """Return whether the training rows that are learned, and the validation rows, of each fold have
    every stratum. Two in the validation rows are enough for a single split.
    """
    n_strata = len(np.unique(rows.strata))
    n_needed = n_strata if len(folds) > 1 else min(2, n_strata)
    learned = np.ones(len(rows.texts), np.bool_) if rows.is_learned is None else rows.is_learned
    return all(
        len(np.unique(rows.strata[train[learned[train]]])) == n_strata
        and len(np.unique(rows.strata[validation])) >= n_needed
        for train, validation in folds
    )


def _drawn(rows: Rows, redraw: Redraw, validation_share: float) -> list[tuple[Numbers, Numbers]]:
    kind, n_folds = SPLIT_KINDS[rows.kind], redraw.n_folds
    if n_folds == 1:
        shares, first = [1 - validation_share, validation_share], 1
    else:
        # In the order of time, each fold is trained on all parts before its own, and no part is
        # before the first part.
        first = int(kind.IS_ORDERED)
        shares = [1 / (n_folds + first)] * (n_folds + first)
    parts, folds = kind.draw(rows, shares, seed=redraw.seed), []
    for part in range(first, len(shares)):
        validation = parts == part
        train = parts < part if kind.IS_ORDERED else ~validation
        # Rows with one text may be in several groups or times.
        train &= ~np.isin(rows.texts, rows.texts[validation])
        folds.append((np.flatnonzero(train), np.flatnonzero(validation)))
    return folds


def require_folds(rows: Rows, redraw: Redraw) -> list[tuple[Numbers, Numbers]]:
    first = np.unique(rows.texts, return_index=True)[1]
    n_texts = np.unique(rows.strata[first], return_counts=True)[1]  # by class
    folds = redrawn(rows, redraw) if n_texts.min() >= redraw.n_folds else []
    # The message for weights names the class and the fold, so the caller checks the weights.
    if not folds or not _have_strata(replace(rows, is_learned=None), folds):
        raise DataError(
            f"Each of {redraw.n_folds} folds must have texts of each class, for training and for"
            " validation. Give folds a smaller number, or 1 for one split."
        )
    return folds
