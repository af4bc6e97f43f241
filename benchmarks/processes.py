"""Fresh processes for the sides of a comparison, which must not share threads, memory or loaded
modules.
"""

import contextlib
import ctypes
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
PR_SET_CHILD_SUBREAPER = 36  # of Linux


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
        end_fork_server()


def end_fork_server() -> None:
    """End the fork server of this process, or an adopted one, and wait for it. Only then do the
    CPU seconds of the server and of its workers count to this process (`cpu_seconds`).
    """
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE or _is_fork_server(child):
            child.kill()
            child.wait(END_SECONDS)


def _is_fork_server(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # It may end at any moment.
        return any("multiprocessing.forkserver" in part for part in process.cmdline())
    return True


def _log_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def adopt_orphans() -> None:
    """Make processes whose parents end children of this process, for example the fork server of a
    command. Only Linux can do that. It holds until this process ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def lines_of(command: list[str]) -> Iterator[tuple[int, float, str]]:
    """Call a command of this program, such as ["tune", "--n-trials", "20"], and yield each line
    that it prints, with the id of its process and the seconds since it was started. If the command
    fails, this process exits with its status.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "tuning", *command],
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
