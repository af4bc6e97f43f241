"""Optuna's storage at a URL: its tables and its errors, in messages that hide the password of the
URL.
"""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock

from tuning.atomic_io import translated
from tuning.commands import install
from tuning.errors import StorageError
from tuning.study.optuna_internals import engine_of, storage_of

UNPARSED = "the storage (its URL can't be parsed)"


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open the storage at a URL, and create its tables if they do not exist."""
    shown = hide_password(url)
    try:
        address = sqlalchemy.make_url(url)
        # Without a ping, the first statement after a restart of PostgreSQL would end the search.
        options: dict[str, Any] = {"pool_pre_ping": True}
        is_sqlite = address.drivername.startswith("sqlite")
        if is_sqlite:
            options["connect_args"] = {"timeout": 60}
            path = Path(address.database or "")
            with translated(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        with _creation_lock(address):
            if is_sqlite:
                with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
                    # In this mode Optuna Dashboard can read while a search writes.
                    connection.execute("PRAGMA journal_mode=WAL")
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except (
        *(sqlalchemy.exc.SQLAlchemyError, sqlite3.Error),
        *(ImportError, ValueError, RuntimeError),  # RuntimeError: a database of an old Optuna
    ) as error:
        lacks_driver = isinstance(error, ImportError) and url.startswith("postgresql")
        hint = f" Install its driver: `{install('postgres')}`." if lacks_driver else ""
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        # The text of this error contains a part of the URL, perhaps of the password.
        if shown == UNPARSED and isinstance(error, ValueError):
            reason = "a wrong port, or a password whose @ or : is not written as %40 or %3A"
        raise StorageError(
            f"The storage must be reachable and writable; {shown} gave: {reason}.{hint} Check its"
            " permissions and disk space, or choose another storage."
        ) from error


@contextlib.contextmanager
def _creation_lock(url: sqlalchemy.URL) -> Iterator[None]:
    """Hold a lock beside a SQLite file, unless its folder is read-only."""
    # Optuna 5 creates the tables without a lock. When four processes opened a new SQLite database
    # at once, one to three of them failed in each of six runs ("table already exists").
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            if url.drivername.startswith("sqlite") and url.database:
                stack.enter_context(FileLock(f"{url.database}.lock"))
        yield


def _parsed(url: str) -> sqlalchemy.URL | None:
    try:
        return sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # `open_storage` refuses this URL.
        return None


def hide_password(url: str) -> str:
    address = _parsed(url)
    if address is None:
        return UNPARSED
    # A driver may get passwords as parameters, such as `?password=` and `sslpassword`.
    shown = {k: "hidden" if "password" in k.lower() else v for k, v in address.query.items()}
    return address.set(query=shown).render_as_string(hide_password=True)


def missing_file(url: str) -> Path | None:
    """Return the path of a URL's SQLite file if the file does not exist: opening it would create
    it.
    """
    address = _parsed(url)
    if address is None or not address.drivername.startswith("sqlite"):
        return None
    path = Path(address.database or "")
    return None if path.exists() else path


def close_study(study: optuna.Study) -> None:
    engine_of(storage_of(study)).dispose()


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
        raise StorageError(
            f"The storage must stay reachable and writable; {hide_password(url)} gave: {reason}."
            " Finished trials are kept: repair the storage, then search again."
        ) from error


def import_late_modules() -> None:
    # Opening a study would import these modules, in 0.4 s. Here they are imported while the fork
    # server imports Keras. The first trial waits for both.
    for name in ("alembic.context", "optuna_dashboard", "sqlalchemy.orm"):
        importlib.import_module(name)
