"""What of a machine this process may use, where a container or a batch system gives it a part:
Linux' control groups, version 2.
"""

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def core_quota(groups: Path = GROUPS, own: Path = OWN) -> float | None:
    """How many cores' time it gets, as a Kubernetes limit says; it may see all cores all the same.
    None: no limit.
    """
    shares = (text.split() for text in _settings("cpu.max", groups, own))
    return min(
        (int(quota) / int(period) for quota, period in shares if quota != "max"), default=None
    )


def memory_limit(groups: Path = GROUPS, own: Path = OWN) -> int | None:
    """The bytes beyond which the system ends one of its processes. None: no limit."""
    return min(
        (int(text) for text in _settings("memory.max", groups, own) if text != "max"), default=None
    )


def _settings(name: str, groups: Path, own: Path) -> Iterator[str]:
    """A setting of this process's group, and of each above it: the least holds."""
    lines = own.read_text().splitlines() if own.exists() else []
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if path is None or ".." in path:
        return
    for folder in (groups / path, *(groups / path).parents):
        if (folder / name).exists():
            yield (folder / name).read_text().strip()
        if folder == groups:
            return


def available_cores() -> int:
    """The cores that this process may use."""
    n_cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = core_quota()
    return n_cores if quota is None else max(min(n_cores, int(quota)), 1)
