"""Optuna's storage at a URL: opened with its tables made, locked, closed; its errors and its
password kept out of sight.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock

from tuning.errors import StorageError
from tuning.results import translated
from tuning.study.optuna_internals import engine_of, storage_of

SCHEMA_KEY = 7_021_958_113  # of the advisory lock, any number that others do not take
# longer than any holder needs, and less than DEAD_SECONDS: who waits for a lock does not beat
# meanwhile
LOCK_SECONDS = 30
# A machine whose network is gone hears nothing: without these its connection to PostgreSQL would
# hang for a quarter of an hour.
PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


def open_storage(
    url: str, kind: type[optuna.storages.RDBStorage] = optuna.storages.RDBStorage
) -> optuna.storages.RDBStorage:
    """The storage at a URL; SQLite in WAL mode, so that the Dashboard reads while a search writes.

    Raises:
        StorageError: it can't be opened; the message hides the URL's password.
    """
    shown = hide_password(url)
    try:
        address = sqlalchemy.make_url(url)
        options: dict[str, Any] = {"pool_pre_ping": True}
        is_sqlite = address.drivername.startswith("sqlite")
        if is_sqlite:
            options["connect_args"] = {"timeout": 60}
            path = Path(address.database or "")
            with translated(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        else:
            options["connect_args"] = _patience(address)
        with _schema_lock(address):
            if is_sqlite:
                _prepare_sqlite(path)
            return kind(url, engine_kwargs=options)
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, ImportError, ValueError) as error:
        lacks_driver = isinstance(error, ImportError) and url.startswith("postgresql")
        hint = (
            f" Install its driver: {sys.executable} -m pip install 'psycopg[binary]'."
            if lacks_driver
            else ""
        )
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StorageError(
            f"The storage must be reachable and writable; {shown} gave: {reason}.{hint} Mend its"
            " permissions or disk space, or name another with --storage."
        ) from error


def _patience(url: sqlalchemy.URL) -> dict[str, Any]:
    """How long PostgreSQL's client waits for a server that does not answer; what the URL says of it
    comes first.
    """
    if not url.drivername.startswith("postgresql"):
        return {}
    return {name: value for name, value in PATIENCE.items() if name not in url.query}


@contextlib.contextmanager
def _schema_lock(url: sqlalchemy.URL) -> Iterator[None]:
    """Let one process at a time make the tables: Optuna 5 fails where several open a fresh database
    at once.
    """
    if url.drivername.startswith("postgresql"):
        engine = sqlalchemy.create_engine(url, connect_args=_patience(url))
        try:
            with _advisory_lock(engine, SCHEMA_KEY):
                yield
        finally:
            engine.dispose()
    else:
        with _file_lock(url, needed=False):
            yield


@contextlib.contextmanager
def locked(storage: optuna.storages.BaseStorage, name: str) -> Iterator[None]:
    """Hold one of a storage's locks, over all processes and machines that use it; it ends with its
    holder.

    Raises:
        StorageError: a lock file beside SQLite can't be written.
    """
    engine = engine_of(storage)
    lock = (
        _advisory_lock(engine, SCHEMA_KEY + zlib.crc32(name.encode()))
        if engine.name == "postgresql"
        else _file_lock(engine.url, needed=True)
    )
    with lock:
        yield


@contextlib.contextmanager
def _advisory_lock(engine: sqlalchemy.Engine, key: int) -> Iterator[None]:
    """PostgreSQL's, which ends with its transaction; the server ends that of a machine that has
    gone.
    """
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(f"SET LOCAL idle_in_transaction_session_timeout = '{LOCK_SECONDS}s'")
        )
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield


@contextlib.contextmanager
def _file_lock(url: sqlalchemy.URL, *, needed: bool) -> Iterator[None]:
    """One beside an SQLite file; none for another database, or, if not `needed`, in a folder that
    takes nothing but can be read.
    """
    lock = (
        FileLock(f"{url.database}.lock")
        if url.drivername.startswith("sqlite") and url.database
        else None
    )
    try:
        if lock is not None:
            lock.acquire()
    except OSError as error:
        if needed:
            raise StorageError(
                f"The storage's lock must be writable; {url.database}.lock gave: {error.strerror}."
                " Mend its rights."
            ) from error
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def hide_password(url: str) -> str:
    """A storage URL as it may be shown."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return "the storage (its URL can't be parsed)"


def _prepare_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def missing_file(url: str) -> Path | None:
    """The SQLite file of a URL that is not there; opening it would make an empty one."""
    try:
        address = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:  # which opening it says better
        return None
    path = Path(address.database or "")
    return path if address.drivername.startswith("sqlite") and not path.exists() else None


def close_study(study: optuna.Study) -> None:
    """Close the database connections of a study that is not needed any more."""
    engine_of(storage_of(study)).dispose()


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn a storage's failure in the middle of a search into a `StorageError` that says the study
    can go on.
    """
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise StorageError(
            f"The storage must stay reachable and writable; {hide_password(url)} gave: {reason}."
            " Finished trials are kept: mend it, then go on with the same command."
        ) from error
