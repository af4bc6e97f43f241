"""Fresh processes for the sides of a comparison, which must not share threads, memory or loaded
modules.
"""

import contextlib
import ctypes
import importlib
import os
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

TUNING = [sys.executable, "-m", "tuning"]
# Maximum time until a fork server has ended.
END_SECONDS = 20.0
PR_SET_CHILD_SUBREAPER = 36  # of Linux


def in_fresh_process(
    function: Callable[..., Any] | str, *, log_path: Path, **arguments: Any
) -> Any:
    """Call a module's function in the main thread of a fresh interpreter, and return its result.

    A name such as "benchmarks.peers.optuna_peer.train_list" stands for a function whose module only
    the fresh process imports. What libraries print goes to `log_path`.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=log_to, initargs=(log_path,)
    ) as executor:
        return executor.submit(_run, function, arguments).result()


def _run(function: Callable[..., Any] | str, arguments: dict[str, Any]) -> Any:
    try:
        if isinstance(function, str):
            module, _, name = function.rpartition(".")
            return getattr(importlib.import_module(module), name)(**arguments)
        return function(**arguments)
    finally:
        end_fork_server()


def log_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


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


def adopt_orphans() -> None:
    # The fork server of a command outlives the command. This process must be its parent to count
    # its CPU seconds. Only Linux can do that.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all its descendants so far, also of descendants
    that ended and whose parents have waited for them.
    """
    seconds = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            seconds += used.user + used.system + used.children_user + used.children_system
    return seconds


def peak_memory_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB
