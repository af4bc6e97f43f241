"""Split the rows that are not test again: a fresh split for another seed, or folds."""

from __future__ import annotations

import numpy as np

from tuning.data.rows import Numbers, Redraw, Rows
from tuning.data.splits import SPLIT_KINDS


def redrawn(rows: Rows, redraw: Redraw, *, validation_share: float) -> tuple[Numbers, Numbers]:
    """Return the places of the rows for training and for validation, both in order.

    A split in the order of time has one part more than folds: each fold is trained on all parts
    before its own. No text is for training if it is also for validation.
    """
    kind = "random"
    if not redraw.ignores_columns:
        kind = "random" if rows.groups is None else "group"
        kind = kind if rows.times is None else "time"
    rule, n_folds = SPLIT_KINDS[kind], redraw.n_folds
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
