"""The server of Optuna Dashboard, and the storage that it shows."""

from __future__ import annotations

import socket
from collections.abc import Container
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref import simple_server
from wsgiref.simple_server import WSGIServer

import optuna
import optuna_dashboard
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tuning.commands import typed
from tuning.errors import StudyError
from tuning.hosts import LOCAL, check_port, is_for, is_loopback, refusal_of_port, resolve
from tuning.results import ResultsDir
from tuning.study.optuna_internals import engine_of, list_constraints
from tuning.study.storage import missing_file, open_storage

HOST = LOCAL[0]  # Optuna Dashboard has no authentication.


def make_server(
    results: ResultsDir, *, storage_url: str, port: int, host: str = HOST
) -> WSGIServer:
    check_port(port)
    is_local = storage_url == results.storage_url(None)
    # Opening a file that does not exist would create it.
    is_missing = missing_file(storage_url) is not None
    storage = None if is_missing else open_storage(storage_url, DashboardStorage)
    if storage is None or not optuna.get_all_study_names(storage):
        where = results.database_path if is_local else "the storage"
        raise StudyError(
            f"The Dashboard needs a study to show; {where} has none. Type `{typed('tune')}` first."
        )
    # The server runs in this process, because the list of processes would show the command line of
    # a child, and with it the password in a storage URL.
    app = _only_for_host(optuna_dashboard.wsgi(storage), host)
    server_class = _ThreadedServer6 if resolve(host)[0] == socket.AF_INET6 else _ThreadedServer
    try:
        server = simple_server.make_server(
            host, port, app, server_class=server_class, handler_class=_QuietHandler
        )
    except OSError as error:
        engine_of(storage).dispose()
        raise StudyError(refusal_of_port("The Dashboard", host, port, error)) from error
    server.engine = engine_of(storage)
    return server


def page_of(results: ResultsDir, study: str | None, *, storage_url: str) -> str:
    """Return the path of a study's page in the Dashboard: of the named study, else of the study
    that was used last. If the results folder has no study, or the storage does not contain the
    last study, return the path of the list of studies.
    """
    name = study or _newest(results)
    storage = open_storage(storage_url)
    try:
        known = optuna.get_all_study_names(storage)
        if name in known:
            return f"/dashboard/studies/{storage.get_study_id_from_name(name)}"
    finally:
        engine_of(storage).dispose()
    if study is None:
        return "/dashboard"
    raise StudyError(
        f"Study {study!r} must be in the storage; it has {', '.join(sorted(known))}. Name one of"
        " them (study)."
    )


def _newest(results: ResultsDir) -> str | None:
    try:
        return results.latest().name
    except StudyError:
        return None


def _only_for_host(app: Any, host: str) -> Any:
    # Without this check, a web page whose name resolves to this machine (DNS rebinding) could read
    # and change studies. Such a page can't send an address as the host.
    local = is_loopback(host)
    names = {host.lower(), "localhost"} | (set() if local else {socket.gethostname().lower()})

    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        if not is_for(environ.get("HTTP_HOST", ""), names, any_address=not local):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"Ask for the address that make dashboard printed.\n"]
        return app(environ, start_response)

    return guarded


class DashboardStorage(RDBStorage):
    """A storage that adds constraints in the format of Optuna 4, a list, because Optuna Dashboard
    0.21 does not read the named constraints of Optuna 5.
    """

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        for trial in trials:
            list_constraints(trial)
        return trials


class _ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # Ctrl-C does not wait for open requests.
    engine: sqlalchemy.Engine | None = None

    def server_close(self) -> None:
        super().server_close()
        # psycopg warns of connections that are left open.
        if self.engine:
            self.engine.dispose()


class _ThreadedServer6(_ThreadedServer):  # `WSGIServer` listens on IPv4 alone.
    address_family = socket.AF_INET6


class _QuietHandler(simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the page sends several requests per second."""
