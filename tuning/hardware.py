"""The cores, the GPUs and the memory that this process may use. A container or a batch system
limits cores and memory by Linux control groups, version 2.

joblib's `cpu_count` is not used, because it reads `/sys/fs/cgroup/cpu.max` alone. That file has the
limit of a container whose own group is mounted there, but not the limit of a scheduler's step or a
systemd service, whose group lies deeper, nor of a group between. psutil reads no limits of control
groups.
"""

import contextlib
import ctypes
import importlib.util
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def core_quota(groups: Path = GROUPS, own: Path = OWN) -> float | None:
    """Return the CPU time that this process may use, in cores; None if it has no limit. In a
    container with a limit, the system still reports all cores of the machine.
    """
    shares = (text.split() for text in _settings("cpu.max", groups, own))
    return min(
        (int(quota) / int(period) for quota, period in shares if quota != "max"), default=None
    )


def memory_limit(groups: Path = GROUPS, own: Path = OWN) -> int | None:
    """Return the memory, in bytes, beyond which the system kills a process of this control group;
    None if it has no limit.
    """
    return min(
        (int(text) for text in _settings("memory.max", groups, own) if text != "max"), default=None
    )


def _settings(name: str, groups: Path, own: Path) -> Iterator[str]:
    """Yield a setting of this process's control group and of each group above it."""
    # Version 2 of control groups has the line "0::/PATH". A path with ".." lies outside the part of
    # the tree that is mounted in the container.
    lines = own.read_text().splitlines() if own.exists() else []
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if path is None or ".." in path:
        return
    for folder in (groups / path, *(groups / path).parents):
        if (folder / name).exists():
            yield (folder / name).read_text().strip()
        if folder == groups:
            return


def allocated_memory() -> int | None:
    """Return the writable memory, in bytes, that this process has allocated, as `RLIMIT_DATA`
    counts it; None on systems other than Linux, which do not report it.
    """
    return _status_bytes("VmData")


def _status_bytes(name: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024  # The unit of the file is KiB.
    return None


def memory_left() -> int | None:
    """Return the memory, in bytes, that this process may still allocate under its `RLIMIT_DATA`;
    None if it has no such limit.
    """
    limit, allocated = resource.getrlimit(resource.RLIMIT_DATA)[0], allocated_memory()
    if limit == resource.RLIM_INFINITY or allocated is None:
        return None
    return max(limit - allocated, 0)


def available_cores() -> int:
    n_cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = core_quota()
    # A limit of 1.5 cores is rounded down: joblib rounds up, which would start two training
    # processes.
    return n_cores if quota is None else max(min(n_cores, int(quota)), 1)


def available_gpus() -> int:
    """Return 0 without the libraries of the extra `gpu`."""
    # TensorFlow's own list of GPUs would start TensorFlow in the coordinator, so the files of
    # NVIDIA's driver are counted.
    if not importlib.util.find_spec("nvidia"):
        return 0
    n_gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(n_gpus))))
    # CUDA ignores all devices from the first negative number on.
    names = f",{visible}".replace(" ", "").partition(",-")[0].split(",")
    return min(n_gpus, len([name for name in names if name]))


def return_memory() -> None:
    """Return the memory that previous trainings have freed to the system."""
    # Without this call a process would keep 40 MB after 200 trials. Only glibc has `malloc_trim`.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory() -> None:
    """Start a new measurement of the peak memory of this process, on Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # 5 resets VmHWM (man 5 proc).


def peak_memory_mb() -> float:
    """Return the maximum resident memory of this process in MB since `reset_peak_memory`, or since
    its start on systems other than Linux.
    """
    peak = _status_bytes("VmHWM")
    if peak is not None:
        return peak / 2**20
    n_units = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes and Linux KiB.
    return n_units / (2**20 if sys.platform == "darwin" else 2**10)
