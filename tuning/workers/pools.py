"""The choice of a pool: a study's trials are trained in processes of this machine, or in actors of
a Ray cluster. Both kinds of workers take the same messages.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tuning.config import Limits, Workers
from tuning.hardware import available_cores
from tuning.spaces.files import list_spaces
from tuning.spaces.loading import SearchSpace
from tuning.workers.limits import MIN_MEMORY_MB, with_memory
from tuning.workers.pool import AnyPool, Pool, available_gpus, declared_space
from tuning.workers.server import start_server


def start_early(workers: Workers) -> None:
    """Start the fork server, so that it loads Keras while the coordinator prepares the data."""
    if workers.pool == "process":
        start_server()


def default_workers() -> int:
    """Return the default number of workers: one for each GPU, or one for each core of a machine
    without GPUs.
    """
    return available_gpus() or available_cores()


@contextlib.contextmanager
def open_pool(
    workers: Workers, limits: Limits, *, log_path: Path
) -> Iterator[tuple[AnyPool, Limits]]:
    """Open the workers of a command, and yield them with limits that have a memory limit.

    The default memory limit is a worker's share of the memory of this machine, or of the Ray node
    on which that share is the smallest.
    """
    if workers.pool == "process":
        n_workers = workers.n_workers or default_workers()
        limits = with_memory(limits, n_workers=n_workers)
        with Pool(n_workers, log_path=log_path, memory_mb=limits.trial_memory_mb) as pool:
            yield pool, limits
        return
    from tuning.workers.ray_cluster import Shares, join_cluster, node_capacities
    from tuning.workers.ray_pool import RayPool

    shares = Shares(cpus=workers.cpus_per_worker or 1.0, gpus=workers.gpus_per_worker)
    with join_cluster(workers.ray_address, log_path=log_path):
        capacities = node_capacities(shares, n_workers=workers.n_workers)
        if limits.trial_memory_mb is None:
            smallest = min(memory_mb for _, memory_mb in capacities)
            limits = replace(limits, trial_memory_mb=max(smallest, MIN_MEMORY_MB))
        n_workers = workers.n_workers or sum(n for n, _ in capacities)
        with RayPool(
            n_workers, shares=shares, log_path=log_path, memory_mb=limits.trial_memory_mb
        ) as ray_pool:
            yield ray_pool, limits


def declared_spaces(*, n_classes: int) -> dict[str, tuple[Path, SearchSpace]]:
    """Return each search space in `search_spaces/` by its name, with its file."""
    spaces = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Pool(1, log_path=Path(folder) / "worker.log") as pool,
    ):
        for name, path in list_spaces().items():
            spaces[name] = (path, declared_space(pool, path.absolute(), n_classes=n_classes))
    return spaces
