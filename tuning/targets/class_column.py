"""From a label column to classes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.config import DEFAULT_POSITIVE_FROM
from tuning.errors import DataError
from tuning.targets.classes import MISSING, are_sets
from tuning.text import last_part

STAR_COLUMNS = frozenset({"star_rating", "rating", "stars"})
# Minimum share of stars in a column that is named after them and has other values too. The other
# values are then taken for mistakes, which must not become classes. If all of them are words, half
# of the rows is enough, because a rating on a longer scale has numbers alone.
MIN_STARS_SHARE = 0.95
MAX_CLASSES = 100  # A column with more distinct values is an identifier or a free text.


@dataclass(frozen=True)
class ClassColumn:
    """The classes of rows.

    `codes` is int64 (n_rows,), an index into `class_names`, or -1 if a row has no class. `dropped`
    is the number of rows without a class, by reason; `rule` says how stars became classes, or which
    writings of one number are one class, and is None for other labels.
    """

    codes: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    dropped: dict[str, int]
    rule: str | None = None


def to_classes(
    values: pd.Series,
    *,
    column: str,
    positive_from: float = DEFAULT_POSITIVE_FROM,
    drop_stars: tuple[float, ...] = (),
    minus_one_is_missing: bool = False,
    is_ordered: bool = False,
) -> ClassColumn:
    """Convert a label column to classes.

    | column | classes |
    |---|---|
    | star_rating, rating or stars, numbers from 1 to 5 | positive: `positive_from` stars or more |
    | the same, `positive_from=0` | one class for each number of stars |
    | 0 and 1 | negative, positive |
    | numbers, of which one has a leading zero, such as 007 | its distinct texts |
    | any other | its distinct values, numbers in ascending, words in alphabetical order |

    Empty values have no class; in a column of numbers, the words in `MISSING`, such as NA and NULL,
    have no class either.

    Args:
        positive_from: minimum number of stars of a positive review; 0 for a class for each number.
        drop_stars: numbers of stars without a class, such as 3 for neutral reviews.
        is_ordered: whether each number of stars is a class.
        minus_one_is_missing: whether -1 beside 0 and 1 is no class: TFDS marks a missing label so.
    """
    text, numbers, present = parsed(values, minus_one_is_missing=minus_one_is_missing)
    dropped = {"without a label": int((~present).sum())}
    stars = _stars(column, text[present], numbers, is_ordered=is_ordered)
    if stars is not None:
        if wrong := [star for star in drop_stars if not 1 <= star <= 5]:
            raise DataError(
                f"drop_stars must be from 1 to 5, as the stars in {column!r}; received"
                f" {wrong[0]:g}."
            )
        neutral = present & stars.isin(drop_stars).to_numpy()
        dropped["with dropped stars"] = int(neutral.sum())
        present = present & ~neutral
    elif drop_stars or positive_from != DEFAULT_POSITIVE_FROM:
        raise DataError(
            "positive_from and drop_stars need a column of stars: named"
            f" {', '.join(sorted(STAR_COLUMNS))}, all numbers from 1 to 5; {column!r} is none."
            " Leave them out, or choose another label_column."
        )
    names: tuple[str, ...] = ("negative", "positive")
    rule = None
    if stars is not None and positive_from > 0 and not is_ordered:
        rule = f"{positive_from:g} stars or more are positive"
        codes = (stars >= positive_from).to_numpy().astype(np.int64)
    else:
        if stars is None and not is_ordered:
            writings = text[present].drop_duplicates()
            if writings.str.match(r"[+-]?0\d").any():
                numbers = None  # Codes such as 007 and 07 are names.
            else:
                rule = _merged(writings, numbers)
        names, codes = _distinct(text, numbers, present)
    n_seen = len(np.unique(codes[present]))
    if n_seen < 2 or len(names) > MAX_CLASSES:
        classes = "1 class" if n_seen == 1 else f"{n_seen} classes"
        content = classes if n_seen < 2 else f"{len(names)} different values"
        kind = ""
        if n_seen > 1 and (numbers is not None or are_sets(names)):
            kind = f", or give kind {'labels' if numbers is None else 'number'!r}"
        raise DataError(
            f"A label column must have 2 to {MAX_CLASSES} classes; {column!r} has {content}"
            f"{'' if stars is None else ' after the star rule'}. Choose another"
            f" {'' if stars is None else 'positive_from, drop_stars or '}label_column{kind}."
        )
    codes = np.where(present, codes, -1)
    return ClassColumn(codes, names, {reason: n for reason, n in dropped.items() if n}, rule)


def parsed(
    values: pd.Series, *, minus_one_is_missing: bool
) -> tuple[pd.Series, pd.Series | None, npt.NDArray[np.bool_]]:
    """Return a label column as text, as numbers if all its values are numbers, and a mask of the
    rows that have a label.
    """
    text = values.astype(str).str.strip()
    present = (text != "").to_numpy() & values.notna().to_numpy()
    words = present & pd.to_numeric(text.where(present), errors="coerce").isna().to_numpy()
    if words.any() and set(text[words].str.lower().unique()) <= MISSING:
        present = present & ~words
    # Without missing values, large integers keep all their digits.
    filler = text[present].iloc[0] if present.any() else "0"
    numbers = pd.to_numeric(text.where(present, filler), errors="coerce")
    if not numbers[present].notna().all():
        return text, None, present
    if minus_one_is_missing and set(numbers[present]) == {-1.0, 0.0, 1.0}:
        present = present & (numbers != -1).to_numpy()
    return text, numbers, present


def _stars(
    column: str, labels: pd.Series, numbers: pd.Series | None, *, is_ordered: bool
) -> pd.Series | None:
    """Return the numbers of a column of stars; None for any other column. `labels` are those that
    are present, as text; `numbers` the whole column, if all labels are numbers. Ordered classes may
    be any numbers, such as halves from 0.5 to 5.
    """
    if last_part(column).lower() not in STAR_COLUMNS:
        return None
    of_labels = pd.to_numeric(labels, errors="coerce")
    are_stars = of_labels.between(1, 5)
    if set(of_labels) == {0.0, 1.0}:
        return None
    is_mostly = are_stars.mean() >= MIN_STARS_SHARE or (
        are_stars.mean() > 0.5 and of_labels[~are_stars].isna().all()  # All others are words.
    )
    if is_mostly and not are_stars.all() and not is_ordered:
        counts = labels[~are_stars].value_counts()
        others = ", ".join(f"{value!r} ({n:,})" for value, n in counts.head(5).items())
        raise DataError(
            f"A column of stars must have numbers from 1 to 5; {column!r} also has {others}. Remove"
            " these rows, or rename the column to make each value a class."
        )
    return numbers if are_stars.all() else None


def _merged(writings: pd.Series, numbers: pd.Series | None) -> str | None:
    if numbers is None:
        return None
    same = [group for _, group in writings.groupby(numbers[writings.index]) if len(group) > 1]
    more = f" (and {len(same) - 1} more)" if len(same) > 1 else ""
    return f"{' and '.join(map(repr, same[0]))} are one class{more}" if same else None


def _distinct(
    text: pd.Series, numbers: pd.Series | None, present: npt.NDArray[np.bool_]
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Return the names and codes of a column's distinct values; 0 where `present` is False."""
    keys = text if numbers is None else numbers
    distinct = sorted(keys[present].unique().tolist())
    index = {value: code for code, value in enumerate(distinct)}
    codes = keys.map(index).fillna(0).to_numpy().astype(np.int64)
    if distinct == [0.0, 1.0]:
        return ("negative", "positive"), codes
    names = [f"{value:.15g}" if isinstance(value, float) else str(value) for value in distinct]
    if len(set(names)) < len(names):  # 0.3 and 0.30000000000000004
        names = [repr(value) for value in distinct]
    return tuple(names), codes
