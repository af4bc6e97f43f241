"""Read CSV, TSV, JSONL and Parquet files, plain or `.gz`, into one table of text, and choose its
columns by name.
"""

import contextlib
import io
import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow

from tuning.data.files import (
    DECOMPRESSION_BOMB_MESSAGE,
    DELIMITERS,
    Progress,
    csv_format,
    file_format,
    find_files,
    max_unpacked,
    opened,
    plain,
    utf8,
)
from tuning.errors import DataError
from tuning.text import last_part

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
_LISTS = re.compile(r"[^.]+\.list\.(element|item)")  # paths of Parquet columns of lists
VALUE_BYTES = 8  # size added for each value of a Parquet file beside its bytes: a null has none


class TooLarge(Exception):
    """Raised for a file that unpacks to more than the maximum."""


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
    pattern: str, *, with_lists: bool = False, progress: Progress | None = None
) -> Table:
    """Read the files of a path or glob pattern into one table. A list becomes its JSON, or is left
    out.
    """
    tables = [(path, _read_file(path, with_lists, progress)) for path in find_files(pattern)]
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
        n_packed = path.stat().st_size
        readers: dict[str, Callable[[IO[bytes], str], Table]] = {
            ".csv": _read_csv,
            ".tsv": _read_tsv,
            ".parquet": partial(_read_parquet, n_packed=n_packed, with_lists=with_lists),
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


def _text(data: IO[bytes], newline: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(data, encoding="utf-8-sig", errors="strict", newline=newline)


def _read_csv(data: IO[bytes], name: str) -> Table:
    delimiter, n_before_header = csv_format(data)
    mark = DELIMITERS[delimiter]
    rule = f"{name} must be {mark}-separated with a header line"
    try:
        with pd.read_csv(
            _text(data),
            sep=delimiter,
            skiprows=n_before_header,
            dtype=str,
            keep_default_na=False,  # A text or a class may be "None" or "NA".
            low_memory=False,
            chunksize=PART_ROWS,
        ) as reader:
            parts = list(reader)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{rule}; reading it gave: {str(error).strip()}.") from error
    # If rows have more fields than the header, pandas makes an index of the first fields.
    if not isinstance(parts[0].index, pd.RangeIndex):
        raise DataError(
            f"{rule}; its rows have more fields than the header. Quote the {mark}s in texts."
        )
    return Table(pd.concat(parts, ignore_index=True).rename(columns=str))


def _read_tsv(data: IO[bytes], name: str) -> Table:
    # Amazon's published files have no quoting: a quote is a character of the text.
    lines = enumerate(_text(data, newline="\n"), start=1)
    first = next((line for _, line in lines if line.rstrip("\r\n")), "")
    header = first.rstrip("\r\n").split("\t")
    if header == [""]:
        raise DataError(f"{name} must be tab-separated with a header line; it is empty.")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(
            f"{name} must name each column once; {', '.join(map(repr, twice))} occurs more than"
            " once. Rename one of them."
        )
    broken: list[str] = []

    def rows() -> Iterator[list[str]]:
        for number, line in lines:
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) == len(header):
                yield fields
            else:
                broken.append(f"{name} line {number} ({len(fields)} fields, not {len(header)})")

    return Table(_frame(rows(), pd.Index(header)), tuple(broken))


def _read_jsonl(data: IO[bytes], name: str, *, with_lists: bool) -> Table:
    broken: list[str] = []
    lists: set[str] = set()
    lines = _text(data, newline="\n")
    frame = _frame(_jsonl_rows(lines, name, broken, None if with_lists else lists), None)
    if len(frame) == 0 and not broken:
        raise DataError(f"{name} must contain a JSON object in each line; it has none.")
    return Table(frame.fillna(""), tuple(broken), lists=(*sorted(lists - {*frame}),))


def _jsonl_rows(
    lines: Iterable[str], name: str, broken: list[str], lists: set[str] | None
) -> Iterator[dict[str, str]]:
    """Yield the values of each line as texts, without objects. Lists are left out if `lists` is not
    None, which gets their names.
    """
    nested = dict if lists is None else dict | list
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if (record := json_object(line)) is not None:
            if lists is not None:
                lists.update(utf8(k) for k, v in record.items() if isinstance(v, list))
            yield {utf8(k): _as_text(v) for k, v in record.items() if not isinstance(v, nested)}
        else:
            broken.append(f"{name} line {number} (not a JSON object)")


def json_object(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # json.loads recurses into nested lists.
        return None
    return record if isinstance(record, dict) else None


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


def _read_parquet(data: IO[bytes], name: str, *, n_packed: int, with_lists: bool) -> Table:
    columns: list[str] = []
    left_out, lists = set[str](), set[str]()

    def choose_all(flat: list[str]) -> list[str]:
        columns.extend(flat)
        return flat

    with tempfile.NamedTemporaryFile() as file:  # Parquet needs a file in which it can seek.
        shutil.copyfileobj(data, file)
        file.flush()
        max_bytes = max_unpacked(n_packed)
        batches = read_batches(
            file.name,
            choose_all,
            n_rows=PART_ROWS,
            max_bytes=max_bytes,
            with_lists=with_lists,
            left_out=lists,
        )
        try:
            with contextlib.closing(batches):
                parts = [_text_frame(batch, left_out) for batch in batches]
        except TooLarge as error:
            raise DataError(
                f"{name} {DECOMPRESSION_BOMB_MESSAGE} If you trust the file, write it as CSV."
            ) from error
        except (ValueError, OverflowError) as error:
            raise DataError(f"{name} must be a Parquet file; reading it gave: {error}.") from error
    empty = pd.DataFrame(columns=columns, dtype=str)
    frame = pd.concat(parts, ignore_index=True) if parts else empty
    frame = frame.drop(columns=[*left_out], errors="ignore")
    return Table(frame, left_out=(*sorted(left_out),), lists=(*sorted(lists),))


def read_batches(
    path: str,
    choose: Callable[[list[str]], Sequence[str]],
    *,
    n_rows: int,
    max_bytes: int | None = None,
    with_lists: bool = False,
    left_out: set[str] | None = None,
) -> Generator[pyarrow.RecordBatch]:
    """Yield the batches of some columns of a Parquet file.

    `choose` is called once with the names of the flat columns, and returns the names to read;
    nested columns are left out, except lists `with_lists`. `left_out` gets the names of lists that
    are left out. Columns that unpack to more than `max_bytes` raise `TooLarge`; a file that is not
    a Parquet file, and a chosen name that is not unique, a `ValueError`.
    """
    import pyarrow.parquet  # The import takes 25 ms, and other formats do not need it.

    n_bytes = 0
    try:
        # Without a buffer size, pyarrow reads a whole column of a row group at once.
        file = pyarrow.parquet.ParquetFile(path, buffer_size=2**16, pre_buffer=False)
        schema = [file.schema.column(number) for number in range(len(file.schema))]
        flat = [c.name for c in schema if c.path == c.name and c.max_repetition_level == 0]
        lists = [c.path.split(".")[0] for c in schema if _LISTS.fullmatch(c.path)]
        if with_lists:
            flat += lists
        elif left_out is not None:
            left_out.update(lists)
        names = [*choose(flat)]
        for name in names:  # pyarrow also reads all columns below a name.
            if sum(f"{column.path}.".startswith(f"{name}.") for column in schema) > 1:
                raise ValueError(f"two columns have the name {name!r}")
        for batch in file.iter_batches(n_rows, columns=names, use_threads=False) if names else ():
            unpacked = pyarrow.record_batch(list(map(_unpacked, batch.columns)), names)
            n_bytes += unpacked.nbytes + VALUE_BYTES * batch.num_rows * batch.num_columns
            if max_bytes is not None and n_bytes > max_bytes:
                raise TooLarge
            yield unpacked
    # Exceptions of pyarrow's C++ libraries are RuntimeErrors.
    except (pyarrow.ArrowException, OSError, RuntimeError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def _unpacked(values: Any) -> Any:
    # With a dictionary or views, many rows share the bytes of one text, so `nbytes` would not count
    # what the rows take as texts.
    types = pyarrow.types
    if types.is_dictionary(values.type):
        return values.dictionary_decode()
    if types.is_string_view(values.type) or types.is_binary_view(values.type):
        return values.cast(pyarrow.large_binary())
    return values


def _text_frame(batch: pyarrow.RecordBatch, left_out: set[str]) -> pd.DataFrame:
    """Return a batch as texts, and add the names of columns with a value that can't be text, such
    as an image or a date after the year 9999, to `left_out`.
    """
    columns = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns[name] = [_as_text(value) for value in values.to_pylist()]
        except (ValueError, OverflowError, TypeError):  # JSON has no dates and no bytes.
            left_out.add(name)
    return pd.DataFrame(columns, index=pd.RangeIndex(batch.num_rows), dtype=str)


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return utf8(json.dumps(value, ensure_ascii=False))
    return value.decode("utf-8") if isinstance(value, bytes) else plain(value)


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


def named_column(columns: Iterable[str], name: str, flag: str) -> str:
    columns = [str(c) for c in columns]
    column = _find(columns, name)
    if column is None:
        hint = " For several label columns, give kind 'labels'."
        raise DataError(
            f"{flag} must be one of {_listed(columns)}; received {name!r}."
            + hint * (flag == "label_column" and "," in name)
        )
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
    # In a file without a header line, the names are reviews.
    names = (c if len(c) <= MAX_NAME else f"{c[: MAX_NAME - 1]}…" for c in columns[:MAX_LISTED])
    more = f" and {len(columns) - MAX_LISTED} more" if len(columns) > MAX_LISTED else ""
    return ", ".join(names) + more
