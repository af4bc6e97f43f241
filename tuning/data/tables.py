"""Read CSV, TSV, JSONL and Parquet files, plain or `.gz`, into one table of text, and choose its
columns by name.
"""

import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow

from tuning.data import records
from tuning.data.files import (
    DECOMPRESSION_BOMB_MESSAGE,
    Progress,
    file_format,
    find_files,
    max_unpacked,
    opened,
)
from tuning.errors import DataError
from tuning.text import last_part, utf8

MAX_LISTED, MAX_NAME = 40, 60  # maximum number of columns in a message, and of characters of each
TEXT = "text"  # the column of a `.txt` file, whose lines are texts
# Number of rows that are converted from Python strings to Arrow at a time: 1,000,000 rows take
# 2.4 GiB at once, and 1.0 GiB in parts.
PART_ROWS = 20_000
# Columns of Amazon US reviews, Amazon Reviews 2023, Yelp, IMDB and similar data, by what they
# contain; the first name in the list that is a column is used.
KNOWN_COLUMNS = {
    "text": ("review_body", "text", "review", "sentence", "content", "body"),
    "label": ("star_rating", "rating", "stars", "sentiment", "label"),
}


@dataclass(frozen=True)
class Table:
    """The rows of a source, all as text, the columns of a Parquet file that were left out because a
    value can't be text, and the columns of lists that were left out.
    """

    frame: pd.DataFrame
    left_out: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Some rows of a file, one after the other, all as text, and the names of the columns that were
    left out, as in `Table`.
    """

    frame: pd.DataFrame
    left_out: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()


def read_files(
    pattern: str,
    *,
    flag: str = "data",
    with_lists: bool = False,
    progress: Progress | None = None,
) -> Table:
    """Read the files of a path or glob pattern into one table. A list becomes its JSON, or is left
    out.
    """
    paths = find_files(pattern, flag=flag)
    tables = [(path, _read_file(path, with_lists, progress)) for path in paths]
    first_path, first = tables[0]
    for path, table in tables[1:]:
        if set(table.frame.columns) != set(first.frame.columns):
            left_out = sorted({*first.left_out, *table.left_out})
            why = f". Columns that can't be text are left out: {left_out}" if left_out else ""
            raise DataError(
                f"Files read together must have the same columns; {first_path.name} has"
                f" {', '.join(first.frame.columns)}, {path.name} has"
                f" {', '.join(table.frame.columns)}{why}."
            )
    frame = (
        pd.concat([table.frame for _, table in tables], ignore_index=True)
        if len(tables) > 1
        else first.frame
    )
    return Table(frame, first.left_out, first.lists)


def _read_file(path: Path, with_lists: bool, progress: Progress | None) -> Table:
    parts = list(parts_of(path, n_rows=PART_ROWS, with_lists=with_lists, progress=progress))
    left_out = {name for part in parts for name in part.left_out}
    # Rows of JSON may lack a column.
    frame = pd.concat([part.frame for part in parts], ignore_index=True).fillna("")
    lists = {name for part in parts for name in part.lists} - {*frame}
    frame = frame.drop(columns=[*left_out], errors="ignore")
    return Table(frame, (*sorted(left_out),), (*sorted(lists),))


def parts_of(
    path: Path,
    *,
    n_rows: int,
    with_lists: bool = False,
    only: Callable[[Sequence[str]], str] | None = None,
    progress: Progress | None = None,
) -> Iterator[Part]:
    """Yield the rows of a file, at most `n_rows` at a time, so the memory does not grow with the
    file. `only` gets the names of the columns and returns the single column that is needed.

    2.0 GB of CSV (2,260,000 reviews) took 12 s of CPU and 163 MiB in parts of 4,096 rows.
    """
    with opened(path, progress) as data:
        match file_format(path):
            case ".csv" | ".tsv":
                parts = _delimited_parts(data, path, n_rows=n_rows)
            case ".parquet":
                parts = _parquet_parts(
                    data, path, n_rows=n_rows, with_lists=with_lists, only=only, progress=progress
                )
            case ".txt":
                parts = _line_parts(data, n_rows=n_rows)
            case _:
                parts = _json_parts(data, path, n_rows=n_rows, with_lists=with_lists)
        yield from parts


def _delimited_parts(data: IO[bytes], path: Path, *, n_rows: int) -> Iterator[Part]:
    has_tabs = file_format(path) == ".tsv"
    separator = "tab" if has_tabs else "comma"
    rule = f"{path} must be {separator}-separated with a header line"
    try:
        with pd.read_csv(
            _decoded(data, newline=""),
            sep="\t" if has_tabs else ",",
            # Amazon's published TSV files have no quoting: a quote is a character of the text.
            quoting=csv.QUOTE_NONE if has_tabs else csv.QUOTE_MINIMAL,
            # pandas would rename a column whose name occurs twice, and would make an index of
            # fields beyond the header.
            header=None,
            dtype=str,
            keep_default_na=False,  # A text or a class may be "None" or "NA".
            low_memory=False,
            chunksize=n_rows,
        ) as reader:
            header = _header(reader.get_chunk(1).iloc[0].tolist(), path, separator)
            yield Part(pd.DataFrame(columns=header, dtype=str))
            for part in reader:
                # The cells that a short row lacks are empty.
                rows = part.fillna("").set_axis(header, axis="columns")
                yield Part(rows.reset_index(drop=True))
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{rule}; it is empty.") from error
    except pd.errors.ParserError as error:
        remedy = f" Quote the {separator}s in texts." * (not has_tabs and "fields" in str(error))
        raise DataError(f"{rule}; reading it gave: {str(error).strip()}.{remedy}") from error


def _header(names: list[str], path: Path, separator: str) -> list[str]:
    twice = sorted(name for name, n in Counter(filter(None, names)).items() if n > 1)
    if twice:
        raise DataError(
            f"{path} must name each column once; {', '.join(map(repr, map(_short, twice)))} occurs"
            " more than once. Rename one of them."
        )
    if len(names) == 1 and re.search(r"[;\t]|^sep=", names[0]):
        raise DataError(
            f"{path} must be {separator}-separated; its header is {names[0][:MAX_NAME]!r}. Save it"
            " with commas, or with tabs as .tsv."
        )
    # Without a name, as after a comma at the end of each line.
    return [name or f"Unnamed: {number}" for number, name in enumerate(names)]


def _line_parts(data: IO[bytes], *, n_rows: int) -> Iterator[Part]:
    lines = (line.rstrip("\r\n") for line in _decoded(data))
    while part := [*itertools.islice(lines, n_rows)]:
        yield Part(pd.DataFrame({TEXT: part}, dtype=str))


def _json_parts(data: IO[bytes], path: Path, *, n_rows: int, with_lists: bool) -> Iterator[Part]:
    lists: set[str] = set()
    nested = dict if with_lists else dict | list
    lines = ((n, line) for n, line in enumerate(_decoded(data), start=1) if line.strip())
    rule = f"{path} must contain a JSON object in each line"

    def row(number: int, line: str) -> dict[str, str]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # json.loads recurses into nested lists.
            record = None
        if not isinstance(record, dict):
            raise DataError(f"{rule}; line {number} is none. Mend or remove the line.")
        lists.update(utf8(key) for key, value in record.items() if isinstance(value, list))
        return {utf8(k): records.as_text(v) for k, v in record.items() if not isinstance(v, nested)}

    is_empty = True
    while part := [row(*line) for line in itertools.islice(lines, n_rows)]:
        is_empty = False
        yield Part(pd.DataFrame(part, dtype=str).fillna(""), lists=frozenset(lists))
    if is_empty:
        raise DataError(f"{rule}; it has none.")


def _decoded(data: IO[bytes], *, newline: str = "\n") -> io.TextIOWrapper:
    """Return the text of a file. In formats other than CSV, only a line feed ends a line."""
    return io.TextIOWrapper(data, encoding="utf-8-sig", newline=newline)


def _parquet_parts(
    data: IO[bytes],
    path: Path,
    *,
    n_rows: int,
    with_lists: bool,
    only: Callable[[Sequence[str]], str] | None,
    progress: Progress | None,
) -> Iterator[Part]:
    left_out = set[str]()
    n_bytes, max_bytes = 0, max_unpacked(path.stat().st_size)
    with records.parquet_table(data, path, name=str(path), progress=progress) as table:
        columns = [*table.columns, *table.lists] if with_lists else table.columns
        if only:
            columns = [only(columns)]
        lists = frozenset({*table.lists} - {*columns})
        yield Part(pd.DataFrame(columns=columns, dtype=str), lists=lists)
        for batch in table.batches(columns, n_rows=n_rows):
            n_bytes += records.batch_bytes(batch)
            if n_bytes > max_bytes:
                raise DataError(
                    f"{path} {DECOMPRESSION_BOMB_MESSAGE} If you trust the file, write it as CSV."
                )
            frame = _text_frame(batch, left_out)
            if only and left_out:
                raise DataError(
                    f"{path} must have texts in UTF-8 in column {columns[0]!r}; it has other"
                    " values. Write the column as text."
                )
            yield Part(frame, frozenset(left_out), lists)


def _text_frame(batch: pyarrow.RecordBatch, left_out: set[str]) -> pd.DataFrame:
    """Return a batch as texts, and add the names of columns with a value that can't be text, such
    as an image or a date after the year 9999, to `left_out`.
    """
    columns = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns[name] = [records.as_text(value) for value in values.to_pylist()]
        except (ValueError, OverflowError, TypeError):  # JSON has no dates and no bytes.
            left_out.add(name)
    return pd.DataFrame(columns, index=pd.RangeIndex(batch.num_rows), dtype=str)


def clean(texts: pd.Series) -> pd.Series:
    """Return texts that can be encoded in UTF-8. A missing value becomes an empty text."""
    if texts.dtype == "str":  # Arrow stores these texts in UTF-8.
        return texts.fillna("")
    return texts.astype(object).map(lambda text: "" if pd.isna(text) else utf8(str(text)))


def choose_column(columns: Iterable[str], name: str | None, role: str) -> str:
    """Return the column with this name, or the first of the role's `KNOWN_COLUMNS` that is a column
    if `name` is None. Names are compared with the last part of a column's path: `review_body` is
    the name of `data/review_body`, a column of a data set of TensorFlow Datasets.
    """
    columns = [str(c) for c in columns]
    flag = f"{role}_column"
    if name is not None:
        return named_column(columns, name, flag)
    by_name = {last_part(column).lower(): column for column in reversed(columns)}
    known = KNOWN_COLUMNS[role]
    for candidate in known:
        if candidate in by_name:
            return by_name[candidate]
    raise DataError(
        f"The {role} column must be named, since none is called {', '.join(known)}; give {flag} one"
        f" of {_listed(columns)}."
    )


def column_name(flag: str, value: Any) -> str:
    """Return the name of a column, which in a data frame may be a number or a tuple."""
    if getattr(value, "ndim", 0):
        raise DataError(
            f"{flag} must be the name of a column; received values ({type(value).__name__}). Add"
            " them to the data as a column, and give its name."
        )
    return str(value)


def named_column(columns: Iterable[str], name: str, flag: str) -> str:
    columns, name = [str(c) for c in columns], column_name(flag, name)
    column = _find(columns, name)
    if column is None:
        raise DataError(f"{flag} must be one of {_listed(columns)}; received {_short(name)!r}.")
    return column


def trained_column(columns: Sequence[str], name: str) -> str:
    # A model that was trained on `data/review_body` of TensorFlow Datasets can label a file with a
    # column `review_body`.
    column = _find(columns, name) or _find(columns, last_part(name))
    if column is None:
        raise DataError(
            f"The model was trained on the column {name!r}, which the file lacks; give"
            f" text_column one of {_listed(columns)}."
        )
    return column


def _find(columns: Sequence[str], name: str) -> str | None:
    if name in columns:
        return name
    return next((column for column in columns if last_part(column) == name.strip()), None)


def _listed(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - MAX_LISTED} more" if len(columns) > MAX_LISTED else ""
    return ", ".join(map(_short, columns[:MAX_LISTED])) + more


def _short(name: str) -> str:
    # A file without a header line has the texts of its first row as names.
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
