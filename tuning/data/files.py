"""Tables out of files: CSV, TSV, JSONL and Parquet, plain or `.gz`, several by a glob pattern."""

import contextlib
import glob
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import pandas as pd

from tuning.data.parquet import Bomb, read_columns
from tuning.errors import DataError

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0 to 1."""

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
MAX_BROKEN_SHARE = 0.5  # a file of which more is broken is of another format
MAX_UNPACKED_RATIO, MIN_BOMB_BYTES = (
    100,
    2**28,
)  # text packs to a third or a tenth; a file that unpacks to more than both is a bomb
_BOMB = (
    f"must not unpack to more than {MAX_UNPACKED_RATIO} times its size and"
    f" {MIN_BOMB_BYTES / 2**20:.0f} MiB; it does."
)
# rows held as Python strings before they become Arrow's: 1,000,000 at once took 2.4 GiB, in parts
# 1.0
PART_ROWS = 20_000


@dataclass(frozen=True)
class Table:
    """Rows of a source as they were read, all text, and the places that could not be read."""

    frame: pd.DataFrame
    broken: tuple[str, ...] = ()


class _Counted(io.RawIOBase):
    """A binary file that reports the share of its bytes that was read."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        self._file = path.open("rb")
        self._size = max(path.stat().st_size, 1)
        self._progress = progress
        self._label = f"reading {path.name}"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._file.readinto(buffer)
        if self._progress:
            self._progress(self._label, self._file.tell() / self._size)
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """The contents of a gzip file, up to the size that a data file may have."""

    def __init__(self, packed: IO[bytes], *, n_packed: int) -> None:
        self._file = gzip.GzipFile(fileobj=packed)
        self._left = _max_unpacked(n_packed)
        self.is_bomb = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._file.readinto(buffer)
        self._left -= n
        if self._left < 0:
            self.is_bomb = True
            raise OSError("it is a bomb")  # pandas would hide an error of ours
        return n


def _max_unpacked(n_packed: int) -> int:
    return max(MAX_UNPACKED_RATIO * n_packed, MIN_BOMB_BYTES)


def find_files(
    pattern: str, *, flag: str = "--data", formats: tuple[str, ...] = FORMATS
) -> list[Path]:
    """The files of a path or glob pattern, sorted.

    Raises:
        DataError: none, a directory, or an ending that is not in `formats`.
    """
    try:
        path = Path(pattern).expanduser()
        paths = (
            [path]
            if path.exists()
            else [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        )
    except (
        OSError,
        ValueError,
        RuntimeError,
    ):  # too long for a name, a NUL in it, the home of nobody
        paths = []
    if not paths:
        raise DataError(
            f"{flag} must name a file that exists; there is no {pattern!r} seen from {Path.cwd()}."
        )
    for found in paths:
        if found.is_dir():
            raise DataError(
                f"{flag} must name files; {str(found)!r} is a directory. Use a pattern such as"
                f" '{found}/*.csv'."
            )
        if file_format(found) not in formats:
            raise DataError(
                f"A data file must end in {', '.join(formats)}, each also with .gz; received"
                f" {found.name!r}. Rename it after what it holds."
            )
    return paths


def read_files(pattern: str, *, progress: Progress | None = None, flag: str = "--data") -> Table:
    """Read the files of a path or glob pattern into one table of text columns.

    Raises:
        DataError: missing, empty, not UTF-8, a broken gzip file, another format than its name says,
            or files whose columns differ.
    """
    tables = [(path, _read_file(path, progress)) for path in find_files(pattern, flag=flag)]
    first_path, first = tables[0]
    for path, table in tables[1:]:
        if list(table.frame.columns) != list(first.frame.columns):
            raise DataError(
                f"Files read together must have the same columns; {first_path.name} has"
                f" {', '.join(first.frame.columns)}, {path.name} has"
                f" {', '.join(table.frame.columns)}."
            )
    frame = (
        pd.concat([table.frame for _, table in tables], ignore_index=True)
        if len(tables) > 1
        else first.frame
    )
    return Table(frame, tuple(place for _, table in tables for place in table.broken))


def utf8(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, which JSON can spell, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _first_bad_byte(path: Path, *, default: int) -> int:
    """The place in the (unpacked) file; a decoder that reads in pieces knows only that in its
    piece, the default.
    """
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        try:
            file.read(MIN_BOMB_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            return error.start
        except (EOFError, zlib.error, OSError):  # the archive is broken further on
            return default
    return default


def file_format(path: Path) -> str:
    """The ending that says what a file holds, in lower case, without `.gz`."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _read_file(path: Path, progress: Progress | None) -> Table:
    with opened(path, progress) as data:
        parquet = partial(_read_parquet, n_packed=path.stat().st_size)
        readers: dict[str, Callable[[IO[bytes], str], Table]] = {
            ".csv": _read_csv,
            ".tsv": _read_tsv,
            ".parquet": parquet,
        }
        table = readers.get(file_format(path), _read_jsonl)(data, path.name)
    n_rows = len(table.frame)
    if len(table.broken) > MAX_BROKEN_SHARE * (n_rows + len(table.broken)):
        raise DataError(
            f"{path} must hold what its ending says; {len(table.broken)} of"
            f" {n_rows + len(table.broken)} lines can't be read, the first at {table.broken[0]}."
        )
    return table


@contextlib.contextmanager
def opened(path: Path, progress: Progress | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a data file, unpacked; whatever goes wrong while they are read becomes a
    `DataError`.

    Raises:
        DataError: it can't be opened, is a broken gzip file or a bomb, or is not the UTF-8 that was
            asked for.
    """
    unpacked: _Unpacked | None = None
    try:
        with io.BufferedReader(_Counted(path, progress), buffer_size=1 << 20) as raw:
            if path.name.lower().endswith(".gz"):
                unpacked = _Unpacked(cast("IO[bytes]", raw), n_packed=path.stat().st_size)
            yield cast(
                "IO[bytes]", io.BufferedReader(unpacked, buffer_size=1 << 20) if unpacked else raw
            )
    except (OSError, DataError, MemoryError) as error:
        if unpacked is None or not unpacked.is_bomb:
            raise _unreadable(path, error) from error
        raise DataError(
            f"{path} {_BOMB} Unpack it by hand if it is what you want to read."
        ) from error
    except UnicodeDecodeError as error:
        place = (
            error.start
            if file_format(path) == ".parquet"
            else _first_bad_byte(path, default=error.start)
        )
        raise DataError(
            f"{path} must be UTF-8; {error.reason} at byte {place}. Convert it with iconv."
        ) from error
    except (EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Exception:
    """What to raise for an error of the system or of gzip; an error of ours as it is."""
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
        return DataError(
            f"{path} must be a whole gzip file; unpacking it gave: {error}. Fetch it again."
        )
    if isinstance(error, OSError):
        return DataError(f"{path} must be readable; opening it gave: {error.strerror or error}.")
    return error


def _text(data: IO[bytes], newline: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(data, encoding="utf-8-sig", errors="strict", newline=newline)


def _read_csv(data: IO[bytes], name: str) -> Table:
    try:
        with pd.read_csv(
            _text(data), dtype=str, keep_default_na=False, low_memory=False, chunksize=PART_ROWS
        ) as reader:
            parts = list(reader)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(
            f"{name} must be comma-separated with a header line; reading it gave:"
            f" {str(error).strip()}."
        ) from error
    if not isinstance(
        parts[0].index, pd.RangeIndex
    ):  # pandas took the first fields for names of the rows
        raise DataError(
            f"{name} must be comma-separated with a header line; its rows have more fields than the"
            " header. Quote the commas."
        )
    return Table(pd.concat(parts, ignore_index=True).rename(columns=str))


def _read_tsv(data: IO[bytes], name: str) -> Table:
    """Amazon's own dump: tabs, no quoting; a line with another number of fields is named and left
    out.
    """
    lines = _text(data, newline="\n")
    header = next(lines, "").rstrip("\r\n").split("\t")
    if header == [""]:
        raise DataError(f"{name} must be tab-separated with a header line; it is empty.")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(
            f"{name} must name each column once; {', '.join(map(repr, twice))} stands twice. Rename"
            " one."
        )
    broken: list[str] = []
    return Table(
        _frame(_tsv_rows(lines, len(header), name, broken), pd.Index(header)), tuple(broken)
    )


def _tsv_rows(
    lines: Iterable[str], n_fields: int, name: str, broken: list[str]
) -> Iterator[list[str]]:
    for number, line in enumerate(lines, start=2):
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) == n_fields:
            yield fields
        else:
            broken.append(f"{name} line {number} ({len(fields)} fields, not {n_fields})")


def _read_jsonl(data: IO[bytes], name: str) -> Table:
    """One JSON object a line; values that are objects or lists are left out."""
    broken: list[str] = []
    frame = _frame(_jsonl_rows(_text(data, newline="\n"), name, broken), None)
    if len(frame) == 0 and not broken:
        raise DataError(f"{name} must be JSON objects, one a line; it holds none.")
    return Table(frame.fillna(""), tuple(broken))


def _jsonl_rows(lines: Iterable[str], name: str, broken: list[str]) -> Iterator[dict[str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            yield {utf8(k): plain(v) for k, v in record.items() if not isinstance(v, dict | list)}
        else:
            broken.append(f"{name} line {number} (not a JSON object)")


def _frame(
    rows: Iterator[Sequence[str] | dict[str, str]], columns: pd.Index | None
) -> pd.DataFrame:
    """Rows as text columns; a row that is a dict may bring columns of its own."""
    parts = [
        pd.DataFrame(part, columns=columns, dtype=str)
        for part in iter(lambda: list(itertools.islice(rows, PART_ROWS)), [])
    ]
    return (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns, dtype=str)
    )


def plain(value: object) -> str:
    """A value of JSON or Parquet as text."""
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else utf8(str(value))


def _read_parquet(data: IO[bytes], name: str, *, n_packed: int) -> Table:
    import pyarrow

    try:
        names, parts = read_columns(
            data.read(), max_bytes=_max_unpacked(n_packed), part_rows=PART_ROWS
        )
        frames = [
            pd.DataFrame({c: map(_decoded, values) for c, values in part.items()}, dtype=str)
            for part in parts
        ]
    except UnicodeDecodeError:
        raise
    except Bomb as error:
        raise DataError(
            f"{name} {_BOMB} Write it as CSV if it is what you want to read."
        ) from error
    except (
        pyarrow.ArrowException,
        ValueError,
        OverflowError,
        RuntimeError,
    ) as error:  # pyarrow's own exceptions in C++ are RuntimeErrors
        raise DataError(f"{name} must be a Parquet file; reading it gave: {error}.") from error
    return Table(
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=names, dtype=str)
    )


def _decoded(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else plain(value)
