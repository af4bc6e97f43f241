"""Functions that write whole files, and functions that read them. After an error in a function that
writes, the old file is unchanged.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import StorageError

if TYPE_CHECKING:
    import numpy.typing as npt

SCHEMA_VERSION = 1


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` that names `path` and a remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"The results folder must be writable and have space; {path} gave {reason!r}. "
            "Free some space, change its permissions, or choose another folder (results)."
        ) from error


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode(errors="replace"))


def write_bytes(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                # Without this call, a file system may have the new name without the bytes after a
                # loss of power.
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    import numpy as np  # Most commands do not need it.

    buffer = io.BytesIO()
    # Not with `allow_pickle=False`, which NumPy before 2.2 writes as an array.
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # an array of this name
    write_bytes(path, buffer.getvalue())


def write_json(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(
        {"schema_version": SCHEMA_VERSION, **values}, indent=2, sort_keys=True, ensure_ascii=False
    )
    write_text(path, text + "\n")


def read_json(path: Path, *, version: int = SCHEMA_VERSION) -> dict[str, Any]:
    """Return the values of a file that `write_json` wrote, without `schema_version`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    # Deeply nested lists in a damaged file exceed Python's recursion limit.
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(
            f"{path} must contain JSON written by this program; reading it gave: {error}."
        ) from error
    stored = values.pop("schema_version", None) if isinstance(values, dict) else None
    if stored != version:
        raise StorageError(f"{path} must have schema_version {version}; it has {stored!r}.")
    # Only a dict has a schema version.
    return values  # type: ignore[no-any-return]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as a CSV file, in which missing keys are empty cells."""
    buffer = io.StringIO(newline="")
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(buffer, fieldnames=list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the epochs of a trial's `history.csv`: for each the metrics that have a value."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def replace_folder(new: Path, folder: Path) -> None:
    """Rename the folder `new` to `folder`, and remove the folder that has this name.

    No system call replaces a folder with files. If the process is killed between the two renames,
    the earlier folder has the name `folder.old`.
    """
    old = folder.with_name(f"{folder.name}.old")
    with translated(folder):
        new.stat()  # Without a folder to rename, the earlier one must stay.
        shutil.rmtree(old, ignore_errors=True)
        has_moved = folder.exists()
        if has_moved:
            folder.replace(old)
        try:
            new.replace(folder)
        except OSError:
            if has_moved:
                old.replace(folder)
            raise
    shutil.rmtree(old, ignore_errors=True)
