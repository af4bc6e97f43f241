"""The split `time`: the last rows in time are the last part. A group counts by its last row."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tuning.data.rows import Numbers, Parts, Rows, parts_of_blocks
from tuning.errors import DataError

IS_ORDERED = True
SENTENCE = "The rows are in the order of {time}: first {order}, and no text is in two of them."


def ranks(values: pd.Series) -> Numbers:
    values = values.str.strip()
    as_numbers = pd.to_numeric(values, errors="coerce")
    as_dates = pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
    # A column of years, such as 2026, can be read as both; the numbers are then used.
    times = min(as_numbers, as_dates, key=lambda read: read.isna().sum())
    if times.isna().any():
        wrong = values[times.isna()]
        raise DataError(
            "time_column must have dates such as 2026-11-29, or numbers;"
            f" {len(wrong):,} of {len(values):,} rows have others, the first {wrong.iloc[0]!r}."
            " Correct these rows, or leave them out."
        )
    return pd.factorize(times, sort=True)[0].astype(np.int64)


def draw(rows: Rows, shares: Sequence[float], *, seed: int) -> Parts:
    assert rows.times is not None  # The kind of split of rows without times is another.
    times = rows.times
    if rows.groups is not None:
        last = np.zeros(int(rows.groups.max()) + 1, dtype=np.int64)
        np.maximum.at(last, rows.groups, times)
        times = last[rows.groups]
    blocks = np.unique(times, return_inverse=True)[1]
    sizes = np.bincount(blocks)
    if len(sizes) < len(shares):
        raise DataError(
            f"time_column must have {len(shares)} different times or more, one for each part; it"
            f" has {len(sizes)}{'' if rows.groups is None else ' last times of groups'}."
        )
    return parts_of_blocks(sizes, shares)[blocks]
