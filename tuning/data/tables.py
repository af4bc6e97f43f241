"""Read CSV, TSV, JSONL and Parquet files, plain or `.gz`, into one table of text, and choose its
columns by name.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
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

MAX_BROKEN_SHARE = 0.5  # a file with a larger share of broken lines has another format
MAX_LISTED, MAX_NAME = 40, 60  # maximum number of columns in a message, and of characters of each
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
    """The rows of a source, all as text, the places of lines that could not be read, the columns of
    a Parquet file that were left out because a value can't be text, and the columns of lists that
    were left out.
    """

    frame: pd.DataFrame
    broken: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


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
    broken = tuple(place for _, table in tables for place in table.broken)
    return Table(frame, broken, first.left_out, first.lists)


def _read_file(path: Path, with_lists: bool, progress: Progress | None) -> Table:
    with opened(path, progress) as data:
        readers: dict[str, Callable[[IO[bytes], str], Table]] = {
            ".csv": _read_csv,
            ".tsv": _read_tsv,
            ".parquet": partial(_read_parquet, path=path, with_lists=with_lists, progress=progress),
        }
        jsonl = partial(_read_jsonl, with_lists=with_lists)
        table = readers.get(file_format(path), jsonl)(data, path.name)
    n_rows = len(table.frame)
    if len(table.broken) > MAX_BROKEN_SHARE * (n_rows + len(table.broken)):
        raise DataError(
            f"{path} must have the format that its ending names; {len(table.broken)} of"
            f" {n_rows + len(table.broken)} lines can't be read, the first at {table.broken[0]}."
        )
    return table


def _read_csv(data: IO[bytes], name: str) -> Table:
    delimiter, n_before_header, header = records.csv_format(data)
    # Without a name, as after a comma at the end of each line, pandas numbers a column.
    require_unique(filter(None, header), name)
    rule = records.header_rule(name, delimiter)
    remedy = f"Quote the {records.DELIMITERS[delimiter]}s in texts."
    try:
        with pd.read_csv(
            records.decoded(data, newline=""),
            sep=delimiter,
            skiprows=n_before_header,
            dtype=str,
            keep_default_na=False,  # A text or a class may be "None" or "NA".
            low_memory=False,
            chunksize=PART_ROWS,
        ) as reader:
            parts = list(reader)
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{rule}; it is empty.") from error
    except pd.errors.ParserError as error:
        has_excess = "fields in line" in str(error)
        raise DataError(
            f"{rule}; reading it gave: {str(error).strip()}." + f" {remedy}" * has_excess
        ) from error
    # If rows have more fields than the header, pandas makes an index of the first fields.
    if not isinstance(parts[0].index, pd.RangeIndex):
        raise DataError(f"{rule}; its rows have more fields than the header. {remedy}")
    return Table(pd.concat(parts, ignore_index=True).rename(columns=str))


def _read_tsv(data: IO[bytes], name: str) -> Table:
    lines = records.tsv_rows(records.decoded(data))
    header = next((fields for _, fields in lines if fields != [""]), [])
    if not header:
        raise DataError(records.header_rule(name, "\t") + "; it is empty.")
    require_unique(header, name)
    broken: list[str] = []

    def rows() -> Iterator[list[str]]:
        for number, fields in lines:
            if problem := records.width_problem(fields, header):
                broken.append(f"{name} line {number} ({problem})")
            else:
                yield fields

    return Table(_frame(rows(), pd.Index(header)), tuple(broken))


def require_unique(header: Iterable[str], name: str) -> None:
    twice = sorted(column for column, n in Counter(header).items() if n > 1)
    if twice:
        raise DataError(
            f"{name} must name each column once; {', '.join(map(repr, twice))} occurs more than"
            " once. Rename one of them."
        )


def _read_jsonl(data: IO[bytes], name: str, *, with_lists: bool) -> Table:
    broken: list[str] = []
    lists: set[str] = set()
    nested = dict if with_lists else dict | list

    def rows() -> Iterator[dict[str, str]]:
        for number, _, record in records.json_rows(records.decoded(data)):
            if record is None:
                broken.append(f"{name} line {number} ({records.NO_OBJECT})")
                continue
            lists.update(utf8(key) for key, value in record.items() if isinstance(value, list))
            yield {
                utf8(k): records.as_text(v) for k, v in record.items() if not isinstance(v, nested)
            }

    frame = _frame(rows(), None)
    if len(frame) == 0 and not broken:
        raise DataError(f"{name} must contain a JSON object in each line; it has none.")
    return Table(frame.fillna(""), tuple(broken), lists=(*sorted(lists - {*frame}),))


def _frame(
    rows: Iterator[Sequence[str] | dict[str, str]], columns: pd.Index | None
) -> pd.DataFrame:
    parts = [
        pd.DataFrame(part, columns=columns, dtype=str)
        for part in iter(lambda: list(itertools.islice(rows, PART_ROWS)), [])
    ]
    return (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns, dtype=str)
    )


def _read_parquet(
    data: IO[bytes], name: str, *, path: Path, with_lists: bool, progress: Progress | None
) -> Table:
    left_out = set[str]()
    parts: list[pd.DataFrame] = []
    n_bytes, max_bytes = 0, max_unpacked(path.stat().st_size)
    with records.parquet_table(data, path, name=name, progress=progress) as table:
        columns = [*table.columns, *table.lists] if with_lists else table.columns
        for batch in table.batches(columns, n_rows=PART_ROWS):
            n_bytes += records.batch_bytes(batch)
            if n_bytes > max_bytes:
                raise DataError(
                    f"{name} {DECOMPRESSION_BOMB_MESSAGE} If you trust the file, write it as CSV."
                )
            parts.append(_text_frame(batch, left_out))
    empty = pd.DataFrame(columns=columns, dtype=str)
    frame = pd.concat(parts, ignore_index=True) if parts else empty
    frame = frame.drop(columns=[*left_out], errors="ignore")
    lists = {*table.lists} - {*columns}
    return Table(frame, left_out=(*sorted(left_out),), lists=(*sorted(lists),))


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
