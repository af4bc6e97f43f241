"""Read the texts of data files row by row in constant memory; a broken row comes with its problem.

Training reads a whole table and refuses a file with many broken lines (`tables`). Prediction reads
a file of any size once, and returns a result for each row.
"""

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow

from tuning.data import records
from tuning.data.files import Progress, file_format, opened, text_files
from tuning.data.tables import choose_column, require_unique, trained_column
from tuning.errors import DataError
from tuning.text import utf8

MAX_CHARACTERS = 100_000  # of a text; the longest of 25,854 Amazon reviews has 31,863
# Maximum number of characters of a CSV field. A quote that is not closed makes a field of all lines
# after it.
MAX_FIELD = 1_000_000
MAX_LINE = 4_000_000  # maximum number of characters of a line
# Maximum number of characters of a CSV record, and of the first rows of a JSONL file together.
MAX_RECORD = 8_000_000
# Number of rows of a Parquet file that are read together, and the maximum number of bytes to which
# they unpack: each of them may repeat a text that the file has once.
BATCH_ROWS, MAX_BATCH_BYTES = 256, 2**28
# JSONL has no header line: the columns of a file are the names in its first rows.
PEEKED_ROWS = 1_000
_END = "\0 end of the file \0"

Choose = Callable[[Sequence[str]], str]
Texts = Iterator[tuple[str, str, Sequence[str]]]
"""The text of each row, the problem of the row, or "", and the cells of a row of CSV or TSV."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file. `number` counts from 1 after the header; `problem` is the reason why the row
    can't be labeled, or empty; `cells` are all values of a row of CSV or TSV.
    """

    file: str
    number: int
    text: str
    problem: str
    cells: Sequence[str] = ()


def column_of_texts(
    columns: Sequence[str], text_column: str | None, *, trained_on: str | None
) -> str:
    if text_column is None and trained_on is not None:
        return trained_column(columns, trained_on)
    return choose_column(columns, text_column, "text")


def stream_rows(
    pattern: str,
    *,
    text_column: str | None = None,
    trained_on: str | None = None,
    on_read: Callable[[float], None] | None = None,
    on_column: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Return the rows of the files of a path or glob pattern.

    `trained_on` is the text column of the training data. `on_read` is called with the share of all
    bytes that have been read, `on_column` with the name of the text column of each file that has
    columns.
    """
    # Not in a generator: a wrong pattern is refused before the caller loads a model.
    paths = text_files(pattern)

    def choose(columns: Sequence[str]) -> str:
        column = column_of_texts(columns, text_column, trained_on=trained_on)
        if on_column:
            on_column(column)
        return column

    def rows() -> Iterator[Row]:
        sizes = [path.stat().st_size for path in paths]
        for number, path in enumerate(paths):
            done, size, total = sum(sizes[:number]), sizes[number], max(sum(sizes), 1)

            def on_share(
                _: str, share: float, done: int = done, size: int = size, total: int = total
            ) -> None:
                if on_read:
                    on_read((done + share * size) / total)

            yield from rows_of(path, path.name if len(paths) == 1 else str(path), choose, on_share)

    return rows()


def rows_of(path: Path, name: str, choose: Choose, on_share: Progress) -> Iterator[Row]:
    readers: dict[str, Callable[[IO[bytes], Path, Choose], Texts]] = {
        ".csv": _csv_texts,
        ".tsv": _tsv_texts,
        ".parquet": partial(_parquet_texts, progress=on_share),
        ".txt": _txt_texts,
    }
    with opened(path, on_share) as data:
        texts = readers.get(file_format(path), _jsonl_texts)(data, path, choose)
        for number, (text, problem, cells) in enumerate(texts, start=1):
            yield Row(utf8(name), number, text, problem or problem_of(text), cells)


def problem_of(text: str) -> str:
    if not text or text.isspace():
        return "no text"
    if len(text) > MAX_CHARACTERS:
        return f"a text of {len(text):,} characters; the maximum is {MAX_CHARACTERS:,}"
    return "" if _is_utf8(text) else "not UTF-8"


def _is_utf8(text: str) -> bool:
    """Return whether all bytes of a text were decoded; the others are lone surrogates."""
    return utf8(text) == text


def _lines(data: IO[bytes], *, newline: str = "\n") -> Iterator[str]:
    """Yield lines with their ends, cut to `MAX_LINE` characters."""
    # A byte that is not UTF-8 becomes a lone surrogate, so it is a problem of its row alone.
    text = records.decoded(data, newline=newline, errors="surrogateescape")
    while line := text.readline(MAX_LINE):
        yield line
        rest = line
        while len(rest) == MAX_LINE and not rest.endswith(("\n", "\r")):
            rest = text.readline(MAX_LINE)


@dataclass
class _Record:
    """The lines of a CSV record, up to `MAX_RECORD` characters: without the limit, a quote that
    opens in each line would make one record of the whole file.
    """

    lines: Iterator[str]
    n_characters: int = 0
    last: str = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.last = line = next(self.lines)
        self.n_characters += len(line)
        if self.n_characters > MAX_RECORD:
            raise csv.Error(f"a record of more than {MAX_RECORD:,} characters")
        return line


def _csv_texts(data: IO[bytes], path: Path, choose: Choose) -> Texts:
    csv.field_size_limit(MAX_FIELD)  # Python's own limit is 131,072 characters.
    delimiter, n_before_header, _ = records.csv_format(data)
    # The csv module returns the rest of a file after an open quote like a record. `_END` is then a
    # part of its last field.
    record = _Record(itertools.chain(_lines(data, newline=""), [_END]))
    reader = csv.reader(record, delimiter=delimiter)
    names = itertools.islice(reader, n_before_header, None)
    header, index = _header(names, path, choose, delimiter=delimiter)
    while True:
        first, record.n_characters = reader.line_num + 1, 0
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield "", f"lines {first} to {reader.line_num}: {error}; is a quote not closed?", ()
            continue
        if fields == [_END]:
            return
        if fields and fields[-1].endswith(_END):
            yield "", f"lines {first} to {reader.line_num - 1}: a quote is not closed", ()
        elif not record.last.strip(" \t\r\n".replace(delimiter, "")):
            continue  # pandas skips blank lines too.
        elif len(fields) > len(header):
            yield _cell(fields, index, header, line=first)
        else:  # As in pandas, the cells that a short row lacks are empty.
            yield "".join(fields[index : index + 1]), "", fields


def _tsv_texts(data: IO[bytes], path: Path, choose: Choose) -> Texts:
    rows = records.tsv_rows(_lines(data))
    header, index = _header((fields for _, fields in rows), path, choose, delimiter="\t")
    for number, fields in rows:
        yield _cell(fields, index, header, line=number)


def _cell(
    fields: list[str], index: int, header: list[str], *, line: int
) -> tuple[str, str, list[str]]:
    problem = records.width_problem(fields, header)
    return ("", f"line {line}: {problem}", fields) if problem else (fields[index], "", fields)


def _header(
    rows: Iterator[list[str]], path: Path, choose: Choose, *, delimiter: str
) -> tuple[list[str], int]:
    rule = records.header_rule(path, delimiter)
    try:
        header = next((row for row in rows if row not in ([], [""])), [_END])  # Skip empty lines.
    except csv.Error as error:
        raise DataError(f"{rule}; reading it gave: {error}.") from error
    if header == [_END]:
        raise DataError(f"{rule}; it is empty.")
    if header[-1].endswith(_END):
        raise DataError(f"{rule}; a quote in it is not closed.")
    if not all(_is_utf8(name) and "\0" not in name for name in header):
        raise DataError(f"{path} must be UTF-8; its header line is not. Save it as 'CSV UTF-8'.")
    column = choose(header)
    require_unique([column] * header.count(column), str(path))
    return header, header.index(column)


def _jsonl_texts(data: IO[bytes], path: Path, choose: Choose) -> Texts:
    rows = records.json_rows(_lines(data))
    first, n_characters = [], 0
    for row in itertools.islice(rows, PEEKED_ROWS):
        first.append(_record(*row))
        n_characters += len(row[1])
        if n_characters > MAX_RECORD:
            break
    columns = list(
        dict.fromkeys(name for record in first if isinstance(record, dict) for name in record)
    )
    if not first:
        raise DataError(f"{path} must contain a JSON object in each line; it has none.")
    if not columns:
        raise DataError(
            f"{path} must contain a JSON object in each line; its first {len(first)} lines have no"
            f" columns ({first[0]})."
        )
    column = choose(columns)
    for record in itertools.chain(first, itertools.starmap(_record, rows)):
        value = record.get(column) if isinstance(record, dict) else ""
        if isinstance(value, dict | list):
            yield "", f"{column} is {'an object' if isinstance(value, dict) else 'a list'}", ()
        else:
            yield records.as_text(value), "" if isinstance(record, dict) else record, ()


def _record(number: int, line: str, record: dict[str, Any] | None) -> dict[str, Any] | str:
    if len(line) >= MAX_LINE:
        return f"line {number}: longer than {MAX_LINE:,} characters"
    if not _is_utf8(line):
        return f"line {number}: not UTF-8"
    return f"line {number}: {records.NO_OBJECT}" if record is None else record


def _txt_texts(data: IO[bytes], path: Path, choose: Choose) -> Texts:
    for line in _lines(data):
        yield line.rstrip("\r\n"), "", ()


def _parquet_texts(data: IO[bytes], path: Path, choose: Choose, *, progress: Progress) -> Texts:
    with records.parquet_table(data, path, name=str(path), progress=progress) as table:
        for batch in table.batches([choose(table.columns)], n_rows=BATCH_ROWS):
            if records.batch_bytes(batch) > MAX_BATCH_BYTES:
                raise DataError(
                    f"{path} must unpack to at most {MAX_BATCH_BYTES / 2**20:.0f} MiB in each"
                    f" {BATCH_ROWS} rows; it has more. If you trust the file, write it as CSV."
                )
            yield from ((text, "", ()) for text in _column_texts(batch.column(0)))


def _column_texts(values: Any) -> Iterator[str]:
    # Arrow refuses a whole batch of texts for a byte that is not UTF-8.
    if pyarrow.types.is_string(values.type) or pyarrow.types.is_large_string(values.type):
        values = values.cast(pyarrow.large_binary())
    for value in values.to_pylist():
        yield records.as_text(value, errors="surrogateescape")
