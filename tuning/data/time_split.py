"""The split `time`: the last rows in time are the last part. A group counts by its last row."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tuning.data.rows import Numbers, Parts, Rows, parts_of_blocks
from tuning.errors import DataError

IS_ORDERED = True
SENTENCE = (
    "The rows are in the order of {time}: first train, then validation, then test, and no text is"
    " in two of them."
)


def ranks(values: pd.Series) -> Numbers:
    """Return the rank of each row's time, int64 (n,): numbers, or dates in the form of ISO 8601.

    Raises:
        DataError: a value is neither.
    """
    times = pd.to_numeric(values, errors="coerce")
    if times.isna().any():
        times = pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
    if times.isna().any():
        wrong = values[times.isna()]
        raise DataError(
            "time_column must have dates such as 2026-11-29, or numbers;"
            f" {len(wrong):,} of {len(values):,} rows have others, the first {wrong.iloc[0]!r}."
        )
    return pd.factorize(times, sort=True)[0].astype(np.int64)


def draw(rows: Rows, shares: Sequence[float], *, seed: int) -> Parts:
    assert rows.times is not None
    times = np.unique(rows.times, return_inverse=True)[1]
    if rows.groups is not None:
        last = np.zeros(int(rows.groups.max()) + 1, dtype=np.int64)
        np.maximum.at(last, rows.groups, times)
        times = last[rows.groups]
    counts = np.bincount(times)
    part_of = parts_of_blocks(counts, shares)
    if len({*part_of[counts > 0]}) < len(shares):
        raise DataError(
            f"time_column must have enough different times for {len(shares)} parts; too many rows"
            " have the same."
        )
    return part_of[times]
