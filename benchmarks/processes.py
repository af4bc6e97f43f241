"""Fresh processes for the sides of a comparison, which must not share threads, memory or loaded
modules.
"""

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import psutil

_T = TypeVar("_T")

# Maximum time until a fork server has ended.
END_SECONDS = 20.0


def in_fresh_process(function: Callable[..., _T], *, log_path: Path, **arguments: Any) -> _T:
    """Call a module's function in the main thread of a fresh interpreter, and return its result.

    The standard output and standard error of libraries go to `log_path`. An exception of the
    function is raised here.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=_log_to, initargs=(log_path,)
    ) as executor:
        return executor.submit(_run, function, arguments).result()


def _run(function: Callable[..., _T], arguments: dict[str, Any]) -> _T:
    try:
        return function(**arguments)
    finally:
        _end_fork_server()


def _end_fork_server() -> None:
    """End the fork server of this process and wait for it. Only then do the CPU seconds of the
    server and of its workers count to this process (`cpu_seconds`).
    """
    for child in psutil.Process().children():
        if any("multiprocessing.forkserver" in part for part in child.cmdline()):
            child.kill()
            child.wait(END_SECONDS)


def _log_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def lines_of_tune(flags: list[str]) -> Iterator[tuple[int, float, str]]:
    """Call `tune`, and yield each line that it prints, with the id of its process and the seconds
    since it was started. If the command fails, this process exits with its status.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "tuning", "tune", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        for line in process.stdout or ():
            yield process.pid, time.perf_counter() - started, line
    if process.returncode:
        sys.exit(process.returncode)


def cpu_seconds(pid: int | None = None) -> float:
    """Return the CPU seconds of a process (this process without a `pid`) and of all its descendants
    so far, also of descendants that ended and whose parents have waited for them.
    """
    seconds = 0.0
    own = psutil.Process(pid)
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            seconds += used.user + used.system + used.children_user + used.children_system
    return seconds


def peak_memory_gib() -> float:
    """Return the maximum resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB
