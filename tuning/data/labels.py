"""From a column of stars, numbers or words to classes 0, 1, …"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.config import DEFAULT_POSITIVE_FROM
from tuning.errors import DataError

STAR_COLUMNS = frozenset({"star_rating", "rating", "stars"})
MISSING = frozenset({"NA", "N/A", "nan", "NaN", "null", "None"})  # no labels in a column of numbers
MAX_CLASSES = 100  # more are an identifier or a free text, not a label


@dataclass(frozen=True)
class Labels:
    """Classes of the rows that have one.

    `codes`: int64 array (n_rows,), -1 where a row has no class; `dropped`: how many have none, by
    reason.
    """

    codes: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    dropped: dict[str, int]


def to_classes(
    values: pd.Series,
    *,
    column: str,
    positive_from: float = DEFAULT_POSITIVE_FROM,
    drop_stars: tuple[float, ...] = (),
) -> Labels:
    """Turn a label column into classes.

    | column | classes |
    |---|---|
    | star_rating, rating or stars, numbers from 1 to 5 | positive: `positive_from` stars or more |
    | the same, `positive_from=0` | each number of stars its own |
    | 0 and 1 | negative, positive |
    | anything else | its distinct values, numbers by size, words by alphabet |

    Empty values have no class; in a column of numbers neither have NA, NaN, null and None.

    Raises:
        DataError: fewer than 2 or more than 100 classes, or a star rule for a column that holds no
            stars.
    """
    text = values.astype(str).str.strip()
    present = (text != "").to_numpy() & values.notna().to_numpy()
    words = present & pd.to_numeric(text.where(present), errors="coerce").isna().to_numpy()
    if words.any() and set(text[words].unique()) <= MISSING:
        present = present & ~words
    dropped = {"without a label": int((~present).sum())}
    numbers = pd.to_numeric(text.where(present), errors="coerce")
    numeric = bool(numbers[present].notna().all())
    if numeric:
        unlabelled = present & (numbers == -1).to_numpy()  # how TFDS marks rows without a label
        if unlabelled.any() and set(numbers[present].unique()) == {-1.0, 0.0, 1.0}:
            present = present & ~unlabelled
            dropped["without a label"] += int(unlabelled.sum())
    base_name = column.rsplit("/", 1)[-1].lower()
    stars = numeric and base_name in STAR_COLUMNS and bool(numbers[present].between(1, 5).all())
    if stars:
        neutral = present & numbers.isin(drop_stars).to_numpy()
        dropped["with dropped stars"] = int(neutral.sum())
        present = present & ~neutral
    names: tuple[str, ...]
    if not stars and (drop_stars or positive_from != DEFAULT_POSITIVE_FROM):
        raise DataError(
            "--positive-from and --drop-stars need a column of stars: named"
            f" {', '.join(sorted(STAR_COLUMNS))}, all numbers from 1 to 5; {column!r} is none."
            " Leave them out, or choose another column with --label-column."
        )
    if stars and positive_from > 0:
        names, codes = (
            ("negative", "positive"),
            (numbers >= positive_from).to_numpy().astype(np.int64),
        )
    else:
        names, codes = _distinct(text, numbers if numeric else None, present)
    codes = np.where(present, codes, -1)
    n_seen = len(np.unique(codes[present]))
    if n_seen < 2 or len(names) > MAX_CLASSES:
        what = (
            f"{n_seen} class{'es' if n_seen != 1 else ''}"
            if n_seen < 2
            else f"{len(names)} different values"
        )
        raise DataError(
            f"A label column must hold 2 to {MAX_CLASSES} classes; {column!r} holds {what}"
            f"{' after the star rule' if stars else ''}. Choose another with --label-column."
        )
    return Labels(codes, names, {reason: n for reason, n in dropped.items() if n})


def _distinct(
    text: pd.Series, numbers: pd.Series | None, present: npt.NDArray[np.bool_]
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Class names and codes (0 where absent) of a column's distinct values."""
    keys = text if numbers is None else numbers
    distinct = sorted(keys[present].unique().tolist())
    index = {value: code for code, value in enumerate(distinct)}
    codes = keys.map(index).fillna(0).to_numpy().astype(np.int64)
    if distinct == [0.0, 1.0]:
        return ("negative", "positive"), codes
    return (
        tuple(f"{value:.15g}" if isinstance(value, float) else str(value) for value in distinct),
        codes,
    )
