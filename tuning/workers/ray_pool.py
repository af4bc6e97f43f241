"""The pool of workers that are Ray actors on the nodes of a cluster."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tuning.errors import ArgumentError, PoolError
from tuning.workers.messages import Request, Response
from tuning.workers.pool import checked_answer
from tuning.workers.ray_cluster import Shares, load_ray
from tuning.workers.ray_handle import PlacedFiles, RayWorker
from tuning.workers.worker import WorkerSettings

# Maximum time to wait for the actors' removal of their files.
CLOSE_SECONDS = 2.0
# Maximum time for which no worker is ready.
START_SECONDS = 300.0
# Maximum number of workers that are lost before they are ready, while no worker is ready.
MAX_FAILED_STARTS = 10


class RayPool:
    """A fixed number of workers in the cluster that this process has joined (`join_cluster`). At
    the exit of the context manager they are ended.

    If no node has room for a worker, Ray starts the worker later, and the other workers go on.

    Args:
        n_workers: number of actors.
        shares: the resources of its node that each actor takes.
        log_path: file for the output of workers; actors do not use it.
        memory_mb: maximum memory in MB that each actor may allocate after its start. None: no
            limit.
    """

    def __init__(
        self, n_workers: int, *, shares: Shares, log_path: Path, memory_mb: float | None = None
    ) -> None:
        if n_workers < 1:
            raise ArgumentError(f"n_workers must be 1 or more; received {n_workers}.")
        self._ray = load_ray(local=False)
        self._shares, self._files = shares, PlacedFiles(self._ray)
        self._n_failed_starts, self._last_ready = 0, time.monotonic()
        n_threads = max(int(shares.cpus), 1)
        self.workers = [
            self._start(
                WorkerSettings(
                    number=number, n_threads=n_threads, log_path=str(log_path), memory_mb=memory_mb
                )
            )
            for number in range(n_workers)
        ]

    def _start(self, settings: WorkerSettings) -> RayWorker:
        return RayWorker(self._ray, settings, shares=self._shares, files=self._files)

    def wait(self, timeout_seconds: float) -> list[tuple[RayWorker, Response | None]]:
        messages: list[tuple[RayWorker, Response | None]] = []
        for worker, references in self._ready_results(timeout_seconds).items():
            message = worker.receive(references)
            if message is not None:
                messages.append((worker, message))
        self._restart_failed()
        lost = [worker for worker in self.workers if worker.failure]
        return [*messages, *((worker, None) for worker in lost if worker not in dict(messages))]

    def _ready_results(self, timeout_seconds: float) -> dict[RayWorker, set[Any]]:
        """Wait until a call of an actor's method has finished. Return the references to all results
        that are ready, by worker.

        The function does not wait if a worker is lost already, because `wait` must report that.
        """
        by_reference = {
            reference: worker for worker in self.workers for reference in worker.awaited.values()
        }
        if not by_reference:
            return {}
        is_any_lost = any(worker.failure for worker in self.workers)
        timeout = 0 if is_any_lost else timeout_seconds
        ready = self._ray.wait([*by_reference], timeout=timeout)[0]
        if ready:  # Ray returns only one reference, unless it is asked for all of them.
            ready = self._ray.wait([*by_reference], num_returns=len(by_reference), timeout=0)[0]
        results: dict[RayWorker, set[Any]] = {}
        for reference in ready:
            results.setdefault(by_reference[reference], set()).add(reference)
        return results

    def _restart_failed(self) -> None:
        """Replace workers that were lost before they were ready, for example because their node is
        shutting down.
        """
        for worker in [worker for worker in self.workers if worker.failure and worker.pid is None]:
            self._n_failed_starts += 1
            if self._n_failed_starts >= MAX_FAILED_STARTS:
                raise PoolError(
                    f"Workers must start on the Ray cluster; {MAX_FAILED_STARTS} did not. The last"
                    f" start failed with: {worker.failure}"
                )
            self.replace(worker)
        if any(worker.is_ready for worker in self.workers):
            self._n_failed_starts, self._last_ready = 0, time.monotonic()
        elif time.monotonic() - self._last_ready > START_SECONDS:
            raise PoolError(
                f"The Ray cluster must have room for a worker; it had none for {START_SECONDS:g} s."
                " Finished trials are kept. Add a node, or wait until other programs have ended;"
                " then search again."
            )

    def call(self, message: Request) -> Response:
        """Send one message to the first worker that is ready, and return the answer. No worker may
        have a job.
        """
        while not (ready := [worker for worker in self.workers if worker.is_ready]):
            self.wait(1.0)
        ready[0].send(message)
        while True:
            for worker, answer in self.wait(1.0):
                if worker is ready[0]:
                    return checked_answer(worker, answer)

    def replace(self, worker: RayWorker) -> RayWorker:
        """End a worker unless it is lost, and start another worker in its place. It starts
        when a node has room for it.
        """
        self._end([worker])
        new = self._start(worker.settings)
        self.workers[self.workers.index(worker)] = new
        return new

    def _end(self, workers: list[RayWorker]) -> None:
        closing = [worker.close() for worker in workers if worker.is_ready]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)
        for worker in workers:
            worker.kill()

    @property
    def max_trainings(self) -> None:
        """None, because the start of an actor takes many seconds."""

    def threads_of_each(self, n_jobs: int) -> None:
        """Return None, because an actor uses the CPUs that Ray has reserved for it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(self.workers)
