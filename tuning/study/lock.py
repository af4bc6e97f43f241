"""The locks of a study's folder: one process searches at a time, and one process writes the export.

The kernel releases a lock when its process ends, so a killed process leaves no lock behind.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tuning import documents
from tuning.atomic_io import translated
from tuning.errors import StorageError, StudyError
from tuning.results import StudyDir


@dataclass(frozen=True)
class LockHolder:
    """`since`: local time."""

    pid: int
    host: str
    since: str


@contextlib.contextmanager
def study_lock(folder: StudyDir) -> Iterator[None]:
    def refusal() -> str:
        return (
            f"Only one process may work on a study at a time; {folder.name!r} is locked by"
            f" {_holder_text(folder)} (it holds {folder.lock_path}). Wait for it, stop it, or start"
            " another study (study)."
        )

    with translated(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    with _file_lock(folder.lock_path, refusal):
        try:
            now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            holder = LockHolder(pid=os.getpid(), host=socket.gethostname(), since=now)
            documents.write(folder.lock_holder_path, holder)
            yield
        except BaseException:
            # The lock is still held, so the files of another call are never removed.
            _remove_if_new(folder)
            raise
        finally:
            with contextlib.suppress(OSError):
                folder.lock_holder_path.unlink()


@contextlib.contextmanager
def export_lock(folder: StudyDir) -> Iterator[None]:
    """The study may be searched at the same time."""
    refusal = (
        f"Only one process may write an export at a time; another process writes"
        f" {folder.best_dir}. Wait until that process has ended."
    )
    with _file_lock(folder.export_lock_path, lambda: refusal):
        yield


@contextlib.contextmanager
def _file_lock(path: Path, refusal: Callable[[], str]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        with translated(path):
            try:
                stack.enter_context(FileLock(path, timeout=0))
            except Timeout:
                raise StudyError(refusal()) from None
        yield


def holder_of(folder: StudyDir) -> LockHolder | None:
    """Return the process that has the lock of a study; None if no process has it, or if the process
    has not written its name yet.
    """
    if not is_locked(folder.lock_path):  # The file of a process that was killed remains.
        return None
    try:
        return documents.read(
            folder.lock_holder_path, LockHolder, error=StorageError, remedy="Remove the file."
        )
    except StorageError:
        return None


def _holder_text(folder: StudyDir) -> str:
    holder = holder_of(folder)
    if holder is None:
        return "another process"
    return f"process {holder.pid} on {holder.host} since {holder.since}"


def _remove_if_new(folder: StudyDir) -> None:
    """Remove the folder of a study that was never created; it contains a log and a lock at most."""
    if not folder.config_path.exists() and folder.path.is_dir():
        paths = (folder.log_path, folder.lock_path, folder.lock_holder_path, folder.space_path)
        for path in paths:
            path.unlink(missing_ok=True)
        # The folders stay if they are not empty: the user's files or another study are in them.
        with contextlib.suppress(OSError):
            folder.path.rmdir()
            folder.path.parent.rmdir()


def is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except OSError:  # `Timeout`, or the file of another user
        return True
