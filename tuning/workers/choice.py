"""The choice of a pool: processes of this machine, or actors of a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tuning.config import Limits, Workers
from tuning.workers.pool import MIN_MEMORY_MB, AnyPool, Pool, default_workers, with_memory


@contextlib.contextmanager
def open_pool(
    workers: Workers, limits: Limits, *, log_path: Path
) -> Iterator[tuple[AnyPool, Limits]]:
    """Open the workers of a command, and yield them with limits that have a memory limit. Its
    default is a worker's share of this machine's memory, or of the Ray node where the share is
    smallest.
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
