"""Read columns of a Parquet file as Arrow batches, in a child process whose memory is limited.

A Parquet file of a few kilobytes can unpack to gigabytes: a page is compressed, a dictionary's
value or a run is repeated in many rows, and the sizes in the metadata may be false. pyarrow may
also end its process at a broken file. Therefore a child process unpacks the file, and the system
refuses it memory beyond a limit. Starting the child takes 0.2 s on a free core.

The child, `python -m tuning.data.parquet PATH N_ROWS MAX_BYTES MEMORY`, writes a JSON line with the
names of the flat columns to standard output, reads a JSON line with the names to unpack from
standard input, and writes these columns as an Arrow IPC stream.

The limit is `RLIMIT_DATA`, which includes all private writable memory since Linux 4.7. macOS does
not apply it to the memory that pyarrow maps: there, only the total `max_bytes` limits a file.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import IO, Any

from tuning.processes import child_environment

VALUE_BYTES = 8  # size added for each value beside its bytes, because a null has no bytes
OWN_BYTES = 2**28  # memory of Python and pyarrow before they read: 115 MiB were measured
# Memory for a batch, its pages and its dictionaries, or `max_bytes` if that is larger. A page or
# dictionary of pyarrow's own may contain 1,024 values: 100 MB for texts of 100,000 characters.
BATCH_BYTES = 2**29
IS_DECOMPRESSION_BOMB = 3  # exit status of the child


class DecompressionBomb(Exception):
    """Raised for a file that unpacks to more than the maximum."""


def read_batches(
    path: str,
    choose: Callable[[list[str]], Sequence[str]],
    *,
    n_rows: int,
    max_bytes: int | None = None,
) -> Generator[Any]:
    """Yield the batches of some columns, `pyarrow.RecordBatch`es of at most `n_rows` rows. A batch
    of long values has fewer rows.

    Args:
        path: the file.
        choose: called once with the names of the flat columns; returns the names to read. Nested
            columns are left out.
        n_rows: maximum number of rows in a batch.
        max_bytes: maximum size to which these columns may unpack; None for any size. With a
            maximum, the columns are unpacked once to be measured, before the first batch.

    Raises:
        DecompressionBomb: the columns unpack to more than `max_bytes`, or a single row needs more
            memory than the child may have.
        ValueError: the file is not a Parquet file, or a chosen name is not unique.
    """
    import pyarrow

    memory = OWN_BYTES + max(BATCH_BYTES, max_bytes or 0)
    numbers = map(str, (n_rows, max_bytes or 0, memory))
    command = [sys.executable, "-m", "tuning.data.parquet", path, *numbers]
    # The system's allocator reserves no address space in advance.
    env = child_environment(ARROW_DEFAULT_MEMORY_POOL="system")
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env
        ) as child,
    ):
        assert child.stdin and child.stdout  # for mypy: both are pipes
        if names := child.stdout.readline():
            chosen = choose(json.loads(names))
            try:
                child.stdin.write(json.dumps([*chosen]).encode() + b"\n")
                child.stdin.flush()
                with pyarrow.ipc.open_stream(child.stdout) as batches:
                    yield from batches
            except (pyarrow.ArrowInvalid, OSError):  # The child ended early, with an exit status.
                if child.wait() == 0:
                    raise
        if child.wait() == IS_DECOMPRESSION_BOMB:
            raise DecompressionBomb
        if child.returncode:
            errors.seek(0)
            raise ValueError(_reason(errors, child.returncode))


def _reason(errors: IO[bytes], status: int) -> str:
    """Return why a child failed: the last line that it wrote, or the signal that ended it."""
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return f"pyarrow ended with signal {-status}" if status < 0 else " ".join(lines[-1:])


def main(path: str, n_rows: int, max_bytes: int, memory: int) -> int:
    """Run the child process, and return its exit status."""
    import pyarrow

    _limit_memory(memory)
    try:
        _write_columns(path, n_rows, max_bytes)
    except (MemoryError, DecompressionBomb):
        return IS_DECOMPRESSION_BOMB
    # Exceptions of pyarrow's C++ libraries are RuntimeErrors.
    except (pyarrow.ArrowException, ValueError, OSError, RuntimeError, OverflowError) as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    return 0


def _limit_memory(n_bytes: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or n_bytes < hard:
        with contextlib.suppress(OSError, ValueError):  # The system has no such limit.
            resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))


def _write_columns(path: str, n_rows: int, max_bytes: int) -> None:
    import pyarrow
    import pyarrow.parquet

    # Without a buffer size, pyarrow reads a whole column of a row group at once.
    file = pyarrow.parquet.ParquetFile(path, buffer_size=2**16, pre_buffer=False)
    schema = [file.schema.column(number) for number in range(len(file.schema))]
    flat = [
        column.name
        for column in schema
        if column.path == column.name and column.max_repetition_level == 0
    ]
    sys.stdout.write(json.dumps(flat) + "\n")
    sys.stdout.flush()
    names = json.loads(sys.stdin.readline())
    for name in names:  # pyarrow also reads all columns below a name.
        if sum(f"{column.path}.".startswith(f"{name}.") for column in schema) > 1:
            raise ValueError(f"two columns have the name {name!r}")
    if max_bytes:
        _check_size(_batches(file, names, n_rows), max_bytes)
    empty = pyarrow.table({name: pyarrow.nulls(0) for name in names})
    with pyarrow.PythonFile(sys.stdout.buffer, mode="w") as out:
        writer = None
        for batch in _batches(file, names, n_rows) if names else ():
            writer = writer or pyarrow.ipc.new_stream(out, batch.schema)
            writer.write_batch(batch)
        (writer or pyarrow.ipc.new_stream(out, empty.schema)).close()


def _check_size(batches: Iterator[Any], max_bytes: int) -> None:
    total = 0
    for batch in batches:
        total += batch.nbytes + VALUE_BYTES * batch.num_rows * batch.num_columns
        if total > max_bytes:
            raise DecompressionBomb


def _batches(file: Any, names: list[str], n_rows: int) -> Iterator[Any]:
    """Yield the columns in batches of `n_rows` rows, or of fewer rows after a batch that needed too
    much memory.
    """
    import pyarrow

    n_sent = 0
    for size in (n_rows, max(n_rows // 32, 1), 1):
        n_read = 0
        try:
            for batch in file.iter_batches(size, columns=names, use_threads=False):
                n_read += batch.num_rows
                if n_read > n_sent:
                    new = batch.slice(max(n_sent - n_read + batch.num_rows, 0))
                    unpacked = pyarrow.record_batch(list(map(_unpacked, new.columns)), names)
                    n_sent = n_read
                    yield unpacked
            return
        except pyarrow.ArrowMemoryError:
            pyarrow.default_memory_pool().release_unused()
    raise MemoryError


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
