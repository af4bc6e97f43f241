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
# Orders of the groups that are tried. More would give the same split for each seed if there are few
# groups: with 10 groups, 100 orders give one split, and 5 give 8 in ten seeds.
MAX_ORDERS = 5
MISSING = ("", "nan", "none", "null")  # in upper or lower case


def numbers(values: pd.Series) -> Numbers:
    names = values.str.strip()
    codes: Numbers = pd.factorize(names)[0].astype(np.int64)
    # Otherwise all rows without a product, say, would be one large group.
    alone = names.str.casefold().isin(MISSING).to_numpy()
    codes[alone] = len(codes) + np.arange(alone.sum())
    return pd.factorize(codes)[0].astype(np.int64)


def draw(rows: Rows, shares: Sequence[float], *, seed: int) -> Parts:
    """Divide `MAX_ORDERS` random orders of the groups into the parts, and return the division whose
    numbers of rows, by part and stratum, are nearest to the shares; those of which each part has
    rows of each stratum come first.
    """
    assert rows.groups is not None  # The kind of split of rows without groups is another.
    groups = np.unique(rows.groups, return_inverse=True)[1]
    sizes = np.bincount(groups)
    if len(sizes) < len(shares):
        raise DataError(
            f"group_column must have {len(shares)} groups or more among the rows that are split,"
            f" one for each split or fold; it has {len(sizes)}."
        )
    divided, parts = np.arange(len(sizes)), np.arange(len(shares))
    part_of = np.full(len(sizes), np.argmax(shares), dtype=np.int8)
    # A group that is larger than every part is the largest part alone: the groups beside it would
    # be missing in the other parts, which would be tiny.
    if sizes.max() > max(shares) * len(groups):
        divided = np.delete(divided, sizes.argmax())
        parts = np.delete(parts, np.argmax(shares))
    shares_of = np.array(shares)[parts] / np.array(shares)[parts].sum()
    strata = np.unique(rows.strata, return_inverse=True)[1]
    wanted = np.outer(shares, np.bincount(strata))
    rng = np.random.default_rng(seed)
    best, least = part_of, (wanted.size, np.inf)
    for _ in range(MAX_ORDERS):
        order = rng.permutation(divided)
        part_of = part_of.copy()
        part_of[order] = parts[parts_of_blocks(sizes[order], shares_of)]
        counts = np.bincount(
            part_of[groups].astype(np.int64) * wanted.shape[1] + strata, minlength=wanted.size
        )
        counts = counts.reshape(wanted.shape)
        # A class in each part counts first: twice its share deviates more than none of it.
        deviation = int((counts == 0).sum()), float(np.abs(counts / wanted - 1).max())
        if deviation < least:
            best, least = part_of, deviation
    return best[groups]
