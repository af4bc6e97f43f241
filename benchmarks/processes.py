"""A side in a process of its own, so that no side finds another's threads, memory or loaded
modules.
"""

import os
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")


def in_fresh_process(function: Callable[..., _T], *, log_path: Path, **arguments: Any) -> _T:
    """Call a function of a module in a fresh interpreter, in its main thread, and hand back what it
    returns.

    The libraries' own lines on standard output and error go to `log_path`; what the function raises
    is raised here.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=_log_to, initargs=(log_path,)
    ) as executor:
        return executor.submit(function, **arguments).result()


def _log_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def peak_memory_gib() -> float:
    """The most memory that this process has had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB
