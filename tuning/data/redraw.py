"""Split the rows that are not test again: a fresh split for another seed, or folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tuning.data.rows import Numbers, Redraw, Rows
from tuning.data.splits import SPLIT_KINDS
from tuning.errors import DataError


def redrawn(rows: Rows, redraw: Redraw, *, validation_share: float) -> tuple[Numbers, Numbers]:
    """Return the places of the rows for training and for validation, both in order.

    A split in the order of time has one part more than folds: each fold is trained on all parts
    before its own. No text is for training if it is also for validation.
    """
    rule, n_folds = SPLIT_KINDS["random" if redraw.ignores_columns else rows.kind], redraw.n_folds
    if n_folds == 1:
        parts = rule.draw(rows, [1 - validation_share, validation_share], seed=redraw.seed)
        part = 1
    else:
        n_parts = n_folds + rule.IS_ORDERED
        parts = rule.draw(rows, [1 / n_parts] * n_parts, seed=redraw.seed)
        part = redraw.fold + rule.IS_ORDERED
    validation = parts == part
    train = parts < part if rule.IS_ORDERED else ~validation
    train &= ~np.isin(rows.texts, rows.texts[validation])
    return np.flatnonzero(train), np.flatnonzero(validation)


def require_folds(rows: Rows, redraw: Redraw) -> None:
    """Check that each fold has rows of each class, for training and for validation.

    Raises:
        DataError: a fold has none.
    """
    first = np.unique(rows.texts, return_index=True)[1]
    n_texts = np.unique(rows.strata[first], return_counts=True)[1]  # by class
    if n_texts.min() < redraw.n_folds or any(
        len(np.unique(rows.strata[places])) < len(n_texts)
        for fold in range(redraw.n_folds)
        for places in redrawn(rows, replace(redraw, fold=fold), validation_share=0.0)
    ):
        raise DataError(
            f"Each of {redraw.n_folds} folds must have texts of each class, for training and for"
            " validation. Give folds a smaller number, or 1 for one split."
        )
