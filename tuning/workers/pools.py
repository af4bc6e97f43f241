"""Where a study's trials train: in processes of this machine, or in actors of a Ray cluster. Both
take the same messages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tuning.errors import ArgumentError
from tuning.workers.limits import MIN_MEMORY_MB, TrialLimits, with_memory
from tuning.workers.pool import AnyPool, Pool, default_workers, start_server

POOLS = ("process", "ray")


@dataclass(frozen=True, kw_only=True)
class PoolChoice:
    """Which pool a call uses, as typed; no part of a study, because its results do not depend on
    it.
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


def start_early(choice: PoolChoice, *, log_path: Path) -> None:
    """Begin with what takes long, while the coordinator prepares the data."""
    if choice.pool == "process":
        start_server(log_path)


@contextlib.contextmanager
def open_pool(
    choice: PoolChoice, *, n_workers: int | None, limits: TrialLimits, log_path: Path
) -> Iterator[tuple[AnyPool, TrialLimits]]:
    """The workers of this call, and its limits with one of memory: a share of the machine's, or of
    the node's with the least.

    Raises:
        PoolError: there is no Ray, no cluster, or no room in it.
    """
    if choice.pool == "process":
        n_workers = n_workers or default_workers()
        limits = with_memory(limits, n_workers=n_workers)
        with Pool(
            n_workers, log_path=log_path, memory_mb=limits.memory_mb
        ) as pool:  # waits until the server has Keras
            yield pool, limits
        return
    from tuning.workers.ray_cluster import Shares, joined, room
    from tuning.workers.ray_pool import RayPool

    shares = Shares(cpus=choice.cpus_per_worker or 1.0, gpus=choice.gpus_per_worker)
    with joined(choice.ray_address, log_path=log_path):
        nodes = room(shares)
        if limits.memory_mb is None:
            limits = replace(
                limits, memory_mb=max(min(memory_mb for _, memory_mb in nodes), MIN_MEMORY_MB)
            )
        n_workers = n_workers or sum(n for n, _ in nodes)
        with RayPool(
            n_workers, shares=shares, log_path=log_path, memory_mb=limits.memory_mb
        ) as workers:
            yield workers, limits
