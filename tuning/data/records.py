"""The values of JSON and Parquet files as texts, and open Parquet files."""

import contextlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow

from tuning.data.files import Progress, is_packed
from tuning.errors import DataError
from tuning.text import utf8

# Size added for each value of a Parquet file beside its bytes: a null has none.
VALUE_BYTES = 8
_LISTS = re.compile(r"[^.]+\.list\.(element|item)")  # paths of Parquet columns of lists


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
