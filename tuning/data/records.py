"""The records of data files: what a line, a delimiter, a field and a value of each format is.

Training collects the records in a table (`tables`), and prediction reads them one after the other
(`stream`). CSV alone has two parsers: pandas needs 0.19 s for 25,854 Amazon reviews, and Python's
csv module, which says the lines and the problem of each record, 0.27 s.
"""

import contextlib
import csv
import io
import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import pyarrow

from tuning.data.files import Progress, is_packed
from tuning.errors import DataError
from tuning.text import utf8

# The delimiters of CSV files: a comma, a tab, or a semicolon as in Excel's files where numbers have
# a decimal comma. A name of a column contains a semicolon more often than a tab.
DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon"}
# Maximum number of bytes of a CSV header in which the delimiter is sought. It is below the 131,072
# characters of a field above which Python's csv module raises an error.
HEADER_BYTES = 2**16
NO_OBJECT = "not a JSON object"  # the problem of a line
# Size added for each value of a Parquet file beside its bytes: a null has none.
VALUE_BYTES = 8
_LISTS = re.compile(r"[^.]+\.list\.(element|item)")  # paths of Parquet columns of lists


def csv_format(data: IO[bytes]) -> tuple[str, int, list[str]]:
    """Return the delimiter of a CSV file, the number of lines before its header, and the whole
    names of columns in its first `HEADER_BYTES`. The bytes, as `opened` gives them, stay unread.

    Excel reads the delimiter from a first line such as `sep=;`. In other files it is the first of
    `DELIMITERS` that divides the header line into several names, without dividing a name in quotes,
    and the comma if none does, as for a single column.
    """
    head = cast("io.BufferedReader", data).peek(HEADER_BYTES)[:HEADER_BYTES]
    # The reader of the file refuses bytes that are not UTF-8; the last character may be cut here.
    text = head.decode("utf-8-sig", errors="replace")
    named = re.match(r'"?sep=([,\t;])"?\r?\n', text)
    text = text[named.end() if named else 0 :]
    headers = {
        each: next(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=each)), [])
        for each in ([named[1]] if named else DELIMITERS)
    }

    def divides(delimiter: str) -> bool:
        # A wrong delimiter leaves quotes in the parts of a name that it divides.
        names = headers[delimiter]
        return len(names) > 1 and not any('"' in name for name in names)

    delimiter = max(headers, key=divides)
    # Without a second line, the last name may be cut.
    names = headers[delimiter] if len(text.splitlines()) > 1 else headers[delimiter][:-1]
    return delimiter, 1 if named else 0, names


def header_rule(file: str | Path, delimiter: str) -> str:
    """Return what a file of CSV or TSV must be, as the beginning of a message."""
    return f"{file} must be {DELIMITERS[delimiter]}-separated with a header line"


def decoded(data: IO[bytes], *, newline: str = "\n", errors: str = "strict") -> io.TextIOWrapper:
    """Return the text of a file. In formats other than CSV, only a line feed ends a line."""
    return io.TextIOWrapper(data, encoding="utf-8-sig", errors=errors, newline=newline)


def tsv_rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line, the header's too."""
    # Amazon's published files have no quoting: a quote is a character of the text.
    for number, line in enumerate(lines, start=1):
        yield number, line.rstrip("\r\n").split("\t")


def width_problem(fields: Sequence[str], header: Sequence[str]) -> str:
    return "" if len(fields) == len(header) else f"{len(fields)} fields, not {len(header)}"


def json_rows(lines: Iterable[str]) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    """Yield the number, the text and the JSON object of each line that is not blank; None for a
    line that is no object.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # json.loads recurses into nested lists.
            record = None
        yield number, line, record if isinstance(record, dict) else None


def as_text(value: object, *, errors: str = "strict") -> str:
    """Return a value of JSON or Parquet as text: a bool as 0 or 1, a list as its JSON, and a
    missing value, which is None or NaN, as an empty text. `errors` is that of `bytes.decode`.
    """
    if isinstance(value, bytes):
        return value.decode(errors=errors)
    if isinstance(value, list):
        return utf8(json.dumps(value, ensure_ascii=False))
    if isinstance(value, bool):
        return str(int(value))
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if is_missing else utf8(str(value))


@dataclass(frozen=True)
class ParquetTable:
    """An open Parquet file: the paths of all columns, and the names of the flat columns and of the
    columns of lists, which alone can be read.
    """

    file: Any
    paths: list[str]
    columns: list[str]
    lists: list[str]
    on_share: Callable[[float], None] | None

    def batches(self, names: Sequence[str], *, n_rows: int) -> Iterator[pyarrow.RecordBatch]:
        for name in names:  # pyarrow also reads all columns below a name.
            if sum(f"{path}.".startswith(f"{name}.") for path in self.paths) > 1:
                raise ValueError(f"two columns have the name {name!r}")
        n_read = 0
        batches = self.file.iter_batches(n_rows, columns=names, use_threads=False)
        for batch in batches if names else ():
            n_read += batch.num_rows
            if self.on_share:
                self.on_share(n_read / self.file.metadata.num_rows)
            yield pyarrow.record_batch(list(map(_unpacked, batch.columns)), names)


@contextlib.contextmanager
def parquet_table(
    data: IO[bytes], path: Path, *, name: str, progress: Progress | None
) -> Iterator[ParquetTable]:
    """Open a Parquet file as a context. Errors inside the context that concern the file become a
    `DataError`, which calls it `name`.
    """
    import pyarrow.parquet  # The import takes 25 ms, and other formats do not need it.

    with contextlib.ExitStack() as stack:
        source, on_share = str(path), progress and partial(progress, f"reading {path.name}")
        if is_packed(path):  # pyarrow needs a file in which it can seek.
            copy = stack.enter_context(tempfile.NamedTemporaryFile())
            shutil.copyfileobj(data, copy)
            copy.flush()
            source, on_share = copy.name, None  # The copy was the progress.
        try:
            # Without a buffer size, pyarrow reads a whole column of a row group at once.
            file = pyarrow.parquet.ParquetFile(source, buffer_size=2**16, pre_buffer=False)
            schema = stack.enter_context(file).schema
            leaves = [schema.column(number) for number in range(len(schema))]
            flat = [c.name for c in leaves if c.path == c.name and c.max_repetition_level == 0]
            lists = [c.path.split(".")[0] for c in leaves if _LISTS.fullmatch(c.path)]
            yield ParquetTable(file, [c.path for c in leaves], flat, lists, on_share)
        # Exceptions of pyarrow's C++ libraries are RuntimeErrors.
        except (pyarrow.ArrowException, ValueError, OSError, RuntimeError, OverflowError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{name} must be a Parquet file; reading it gave: {reason}.") from error


def _unpacked(values: Any) -> Any:
    # With a dictionary or views, many rows share the bytes of one text, so `nbytes` would be
    # less than the bytes of the texts, each row with a text of its own.
    types = pyarrow.types
    if types.is_dictionary(values.type):
        return values.dictionary_decode()
    if types.is_string_view(values.type) or types.is_binary_view(values.type):
        return values.cast(pyarrow.large_binary())
    return values


def batch_bytes(batch: pyarrow.RecordBatch) -> int:
    n_bytes: int = batch.nbytes + VALUE_BYTES * batch.num_rows * batch.num_columns
    return n_bytes
