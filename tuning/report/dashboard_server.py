"""The program `optuna-dashboard`, started with a storage, and the page of a study in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna

from tuning.commands import typed
from tuning.errors import StudyError
from tuning.hosts import LOCAL, check_port, refusal_of_port
from tuning.results import ResultsDir
from tuning.study.optuna_internals import engine_of
from tuning.study.storage import missing_file, open_storage

HOST = LOCAL[0]  # Optuna Dashboard has no authentication.
PROGRAM = "optuna-dashboard"


@contextlib.contextmanager
def dashboard(storage_url: str, *, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start Optuna Dashboard on 127.0.0.1, and give its process once it accepts connections. The
    process ends with the context.

    Raises:
        StudyError: the port is not free, or the program does not start.
    """
    check_port(port)
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise StudyError(refusal_of_port("The Dashboard", HOST, port, error)) from error
    folders = [sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
    program = shutil.which(PROGRAM, path=os.pathsep.join(folders)) or PROGRAM
    with contextlib.ExitStack() as stack:
        # Only this user can read the folder, but every user can list the command line of a process,
        # and the URL of a storage may contain a password.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "dashboard.toml"
            url = json.dumps(storage_url, ensure_ascii=False)
            path.write_text(f"[optuna_dashboard]\nstorage = {url}\n")
            command = [program, "--host", HOST, "--port", str(port), "--from-config", str(path)]
            # The program logs each request, and the page sends several requests per second.
            process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            stack.callback(process.terminate)
            while not _accepts(port):
                if process.poll() is not None:
                    raise StudyError(
                        f"Optuna Dashboard must start; {PROGRAM} ended with exit status"
                        f" {process.returncode}. Type `{PROGRAM} STORAGE` to see its message."
                    )
                time.sleep(0.1)
        yield process


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def page_of(results: ResultsDir, study: str | None, *, storage_url: str) -> str:
    """Return the path of a study's page in the Dashboard: of the named study, else of the study
    that was used last. If the results folder has no study, or the storage does not contain the
    last study, return the path of the list of studies.

    Raises:
        StudyError: the storage has no study, or not the named study.
    """
    known: list[str] = []
    # Opening a file that does not exist would create it.
    if missing_file(storage_url) is None:
        storage = open_storage(storage_url)
        try:
            known = optuna.get_all_study_names(storage)
            name = study or _newest(results)
            if name in known:
                return f"/dashboard/studies/{storage.get_study_id_from_name(name)}"
        finally:
            engine_of(storage).dispose()
    if not known:
        is_local = storage_url == results.storage_url(None)
        where = results.database_path if is_local else "the storage"
        raise StudyError(
            f"The Dashboard needs a study to show; {where} has none. Type `{typed('tune')}` first."
        )
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
