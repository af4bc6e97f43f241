"""Read columns of a Parquet file as Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

VALUE_BYTES = 8  # size added for each value beside its bytes, because a null has no bytes


class TooLarge(Exception):
    """Raised for a file that unpacks to more than the maximum."""


def read_batches(
    path: str,
    choose: Callable[[list[str]], Sequence[str]],
    *,
    n_rows: int,
    max_bytes: int | None = None,
) -> Generator[Any]:
    """Yield the batches of some columns, `pyarrow.RecordBatch`es of at most `n_rows` rows.

    Args:
        path: the file.
        choose: called once with the names of the flat columns; returns the names to read. Nested
            columns are left out.
        n_rows: maximum number of rows in a batch.
        max_bytes: maximum size to which these columns may unpack; None for any size.

    Raises:
        TooLarge: the columns unpack to more than `max_bytes`.
        ValueError: the file is not a Parquet file, or a chosen name is not unique.
    """
    import pyarrow
    import pyarrow.parquet

    n_bytes = 0
    try:
        # Without a buffer size, pyarrow reads a whole column of a row group at once.
        file = pyarrow.parquet.ParquetFile(path, buffer_size=2**16, pre_buffer=False)
        schema = [file.schema.column(number) for number in range(len(file.schema))]
        flat = [c.name for c in schema if c.path == c.name and c.max_repetition_level == 0]
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
    """Return an array that stores the value of each row separately, without a dictionary and
    without views of the same text.
    """
    import pyarrow

    types = pyarrow.types
    if types.is_dictionary(values.type):
        return values.dictionary_decode()
    if types.is_string_view(values.type) or types.is_binary_view(values.type):
        return values.cast(pyarrow.large_binary())
    return values
