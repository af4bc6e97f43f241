"""The split `group`: all rows of a group, such as a product or an author, are in the same part."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tuning.data.rows import Numbers, Parts, Rows, parts_of_blocks
from tuning.errors import DataError

IS_ORDERED = False
SENTENCE = (
    "All rows with the same {group} are in the same split, and no text is in two of them; a row"
    " without {group} is a group of its own."
)
# Orders of the groups that are tried. The best of 100 has the shares within 1 % for 200 groups.
MAX_ORDERS = 100
MAX_ROWS = 10_000_000  # in all orders together, which takes about a second


def numbers(values: pd.Series) -> Numbers:
    """Return the number of each row's group, int64 (n,). Empty values are different groups."""
    codes: Numbers = pd.factorize(values)[0].astype(np.int64)
    alone = (values.str.strip() == "").to_numpy()
    codes[alone] = len(codes) + np.arange(alone.sum())
    return pd.factorize(codes)[0].astype(np.int64)


def draw(rows: Rows, shares: Sequence[float], *, seed: int) -> Parts:
    """Draw orders of the groups, and divide each into the parts. The order counts whose numbers of
    rows, by part and stratum, are nearest to the shares.
    """
    assert rows.groups is not None
    groups = np.unique(rows.groups, return_inverse=True)[1]
    sizes = np.bincount(groups)
    if len(sizes) < len(shares):
        raise DataError(
            f"group_column must have {len(shares)} groups or more, one for each part;"
            f" it has {len(sizes)}."
        )
    strata = np.unique(rows.strata, return_inverse=True)[1]
    wanted = np.outer(shares, np.bincount(strata))
    rng = np.random.default_rng(seed)
    best, least = np.zeros(len(sizes), dtype=np.int8), np.inf
    for _ in range(max(1, min(MAX_ORDERS, MAX_ROWS // len(groups)))):
        order = rng.permutation(len(sizes))
        part_of = np.empty(len(sizes), dtype=np.int8)
        part_of[order] = parts_of_blocks(sizes[order], shares)
        counts = np.bincount(
            part_of[groups].astype(np.int64) * wanted.shape[1] + strata, minlength=wanted.size
        )
        deviation = np.abs(counts.reshape(wanted.shape) / wanted - 1).max()
        if deviation < least:
            best, least = part_of, deviation
    return best[groups]
