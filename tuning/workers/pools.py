"""The choice of a pool: a study's trials are trained in processes of this machine, or in actors of
a Ray cluster. Both kinds of workers take the same messages.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tuning.errors import ArgumentError
from tuning.hardware import available_cores
from tuning.spaces.files import list_spaces
from tuning.spaces.loading import SearchSpace
from tuning.workers.limits import MIN_MEMORY_MB, TrialLimits, with_memory
from tuning.workers.pool import AnyPool, Pool, available_gpus, declared_space
from tuning.workers.server import start_server

POOLS = ("process", "ray")


@dataclass(frozen=True, kw_only=True)
class PoolChoice:
    """The pool of one command. The choice is not stored with the study, because the results do not
    depend on it.

    Args:
        pool: "process" or "ray".
        ray_address: the cluster to join, "auto" or host:port. None: a cluster that is started on
            this machine and ends with the command.
        cpus_per_worker: CPUs of each Ray actor (default 1).
        gpus_per_worker: GPUs of each Ray actor (default 1 if the cluster has GPUs, else 0).

    Raises:
        ArgumentError: a value is not valid, or needs another `pool`.
    """

    pool: str = "process"
    ray_address: str | None = None
    cpus_per_worker: float | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise ArgumentError(
                f"--pool must be one of {', '.join(POOLS)}; received {self.pool!r}."
            )
        for name, value in (
            ("--ray-address", self.ray_address),
            ("--cpus-per-worker", self.cpus_per_worker),
            ("--gpus-per-worker", self.gpus_per_worker),
        ):
            if value is not None and self.pool != "ray":
                raise ArgumentError(
                    f"{name} must go with --pool ray; received {value!r} with --pool {self.pool}."
                )
        if self.cpus_per_worker is not None and not self.cpus_per_worker > 0:
            raise ArgumentError(
                f"--cpus-per-worker must be more than 0; received {self.cpus_per_worker:g}."
            )
        if self.gpus_per_worker is not None and not self.gpus_per_worker >= 0:
            raise ArgumentError(
                f"--gpus-per-worker must be 0 or more; received {self.gpus_per_worker:g}."
            )
        if self.ray_address is not None and "://" in self.ray_address:
            raise ArgumentError(
                "--ray-address must be auto or host:port, on a machine of the cluster; received"
                f" {self.ray_address!r}."
            )


def start_early(pool: PoolChoice) -> None:
    """Start the process from which workers are forked, if the choice needs it. Keras is loaded
    there while the coordinator prepares the data.
    """
    if pool.pool == "process":
        start_server()


def default_workers() -> int:
    """Return the default number of workers: one for each GPU, or one for each core of a machine
    without GPUs.
    """
    return available_gpus() or available_cores()


@contextlib.contextmanager
def open_pool(
    choice: PoolChoice, *, n_workers: int | None, limits: TrialLimits, log_path: Path
) -> Iterator[tuple[AnyPool, TrialLimits]]:
    """Open the workers of a command, and yield them with limits that have a memory limit.

    The default memory limit is a worker's share of the memory of this machine, or of the Ray node
    on which that share is the smallest. `n_workers` None: as many workers as the machine or the
    cluster has GPUs or cores for.

    Raises:
        PoolError: Ray is not installed, the cluster can't be reached, or it has no room for a
            worker.
    """
    if choice.pool == "process":
        n_workers = n_workers or default_workers()
        limits = with_memory(limits, n_workers=n_workers)
        with Pool(n_workers, log_path=log_path, memory_mb=limits.memory_mb) as pool:
            yield pool, limits
        return
    from tuning.workers.ray_cluster import Shares, join_cluster, node_capacities
    from tuning.workers.ray_pool import RayPool

    shares = Shares(cpus=choice.cpus_per_worker or 1.0, gpus=choice.gpus_per_worker)
    with join_cluster(choice.ray_address, log_path=log_path):
        capacities = node_capacities(shares, n_workers=n_workers)
        if limits.memory_mb is None:
            smallest = min(memory_mb for _, memory_mb in capacities)
            limits = replace(limits, memory_mb=max(smallest, MIN_MEMORY_MB))
        n_workers = n_workers or sum(n for n, _ in capacities)
        with RayPool(
            n_workers, shares=shares, log_path=log_path, memory_mb=limits.memory_mb
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
