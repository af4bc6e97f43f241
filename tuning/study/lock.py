"""Who works on a study: one process at a time, by a lock that ends with it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tuning.errors import StorageError, StudyError
from tuning.results import StudyDir, read_json, translated, write_json


@contextlib.contextmanager
def study_lock(folder: StudyDir) -> Iterator[None]:
    """Own a study until this process ends.

    Raises:
        StudyError: another process does.
    """

    def refusal() -> str:
        return (
            f"A study must have one owner at a time; {folder.name!r} is owned by {_owner(folder)}"
            f" (it holds {folder.lock_path}). Wait for it, stop it, start another study with"
            " --study NAME, or add workers to it from another folder or machine: tune --join"
            f" --study {folder.name} --storage URL --results FOLDER, with the storage's URL that it"
            " uses."
        )

    with _held(folder.lock_path, refusal):
        try:
            now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            write_json(
                folder.lock_holder_path,
                {"pid": os.getpid(), "host": socket.gethostname(), "since": now},
            )
            yield
        except BaseException:
            _remove_if_new(
                folder
            )  # while it is owned: another call's lock and log must not be touched
            raise
        finally:
            with contextlib.suppress(OSError):
                folder.lock_holder_path.unlink()


@contextlib.contextmanager
def export_lock(folder: StudyDir) -> Iterator[None]:
    """Write a study's export alone; its search may go on meanwhile.

    Raises:
        StudyError: another process does.
    """
    refusal = (
        f"An export must be written by one process at a time; another one writes {folder.best_dir}."
        " Wait for it."
    )
    with _held(folder.export_lock_path, lambda: refusal):
        yield


@contextlib.contextmanager
def _held(path: Path, refusal: Callable[[], str]) -> Iterator[None]:
    """Hold a lock file; the lock is the kernel's, so a killed holder leaves none."""
    lock = FileLock(path)
    with translated(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise StudyError(refusal()) from None
    try:
        yield
    finally:
        lock.release()


def _owner(folder: StudyDir) -> str:
    """Who holds the lock of a study, as it has told."""
    try:
        owner = read_json(folder.lock_holder_path)
    except StorageError:  # it has the lock, and is about to tell
        return "another process"
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}"


def _remove_if_new(folder: StudyDir) -> None:
    """Take away the folder of a study that was never created: it holds a log and a lock at most."""
    if not folder.config_path.exists() and folder.path.is_dir():
        for path in (folder.log_path, folder.lock_path, folder.lock_holder_path, folder.space_path):
            path.unlink(missing_ok=True)
        with contextlib.suppress(
            OSError
        ):  # not empty: something of the user's, or another study, is in it
            folder.path.rmdir()
            folder.path.parent.rmdir()


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock file now."""
    if not path.exists():
        return False
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True
