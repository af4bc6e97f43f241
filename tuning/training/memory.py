"""The memory of the process that trains: freed memory is returned, and the peak is measured."""

from __future__ import annotations

import contextlib
import ctypes
import resource
from pathlib import Path


def return_memory() -> None:
    """Return the memory that previous trainings have freed to the system, if the C library can do
    that (glibc). Without this call a process would keep 40 MB after 200 trials.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory() -> None:
    """Start a new measurement of the peak memory of this process, if the system supports it
    (Linux).
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Return the maximum resident memory of this process in MB since `reset_peak_memory`.

    On systems other than Linux the maximum is counted from the start of the process.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB.
