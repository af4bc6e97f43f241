"""Optuna's storage at a URL: its tables, its locks, and its errors, in messages that hide the
password of the URL.
"""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
import zlib
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

# Key of PostgreSQL's advisory lock: any number that no other program on the server uses.
ADVISORY_LOCK_KEY = 7_021_958_113
# Maximum time for which an idle transaction holds its locks. The time is longer than any holder
# needs, and less than DEAD_SECONDS, because a coordinator that waits writes no heartbeat.
LOCK_SECONDS = 30
# Options of PostgreSQL's client. Without them, a connection hangs for a quarter of an hour when the
# network fails.
POSTGRESQL_TIMEOUTS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}

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
        else:
            options["connect_args"] = _timeouts(address)
        with _schema_lock(address):
            if is_sqlite:
                with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
                    # In this mode Optuna Dashboard can read while a search writes.
                    connection.execute("PRAGMA journal_mode=WAL")
            storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
            _limit_idle_transactions(storage.engine)
            return storage
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


def _limit_idle_transactions(engine: sqlalchemy.Engine) -> None:
    """Let PostgreSQL end the transaction of a machine that was suspended or has lost its network:
    other machines may wait for the rows that it has locked.
    """
    if engine.name != "postgresql":
        return

    def limit(connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{LOCK_SECONDS}s'")
        connection.commit()

    sqlalchemy.event.listen(engine, "connect", limit)
    engine.dispose()  # Connections that were made before have no limit.


def _timeouts(url: sqlalchemy.URL) -> dict[str, Any]:
    if not url.drivername.startswith("postgresql"):
        return {}
    return {name: value for name, value in POSTGRESQL_TIMEOUTS.items() if name not in url.query}


@contextlib.contextmanager
def _schema_lock(url: sqlalchemy.URL) -> Iterator[None]:
    # Optuna 5 creates the tables without a lock. When four processes opened a new SQLite or
    # PostgreSQL database at once, one to three of them failed in each of six runs ("table already
    # exists"), also with `load_if_exists`.
    if url.drivername.startswith("postgresql"):
        engine = sqlalchemy.create_engine(url, connect_args=_timeouts(url))
        _limit_idle_transactions(engine)
        try:
            with _advisory_lock(engine, ADVISORY_LOCK_KEY):
                yield
        finally:
            engine.dispose()
    else:
        with _file_lock(url, required=False):
            yield


def storage_lock(
    storage: optuna.storages.BaseStorage, name: str
) -> contextlib.AbstractContextManager[None]:
    """Return the lock with this name, which excludes all processes and machines that use the
    storage. It is released when its holder's process or connection ends.
    """
    engine = engine_of(storage)
    if engine.name == "postgresql":
        return _advisory_lock(engine, ADVISORY_LOCK_KEY + zlib.crc32(name.encode()))
    return _file_lock(engine.url, required=True)


@contextlib.contextmanager
def _advisory_lock(engine: sqlalchemy.Engine, key: int) -> Iterator[None]:
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield


@contextlib.contextmanager
def _file_lock(url: sqlalchemy.URL, *, required: bool) -> Iterator[None]:
    """No lock is held for other databases, nor in a read-only folder unless it is `required`."""
    with contextlib.ExitStack() as stack:
        try:
            if url.drivername.startswith("sqlite") and url.database:
                stack.enter_context(FileLock(f"{url.database}.lock"))
        except OSError as error:
            if required:
                raise StorageError(
                    f"The storage's lock must be writable; {url.database}.lock gave:"
                    f" {error.strerror}. Check its permissions."
                ) from error
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
