"""The protocols that every pool implements, the pool of worker processes on this machine, and the
choice between it and the actors of a Ray cluster.

Workers are forked from a server process that has imported Keras but has run no operation. The start
of a worker therefore takes 0.1 s instead of the time of TensorFlow's import.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing import connection as mp_connection
from pathlib import Path
from typing import Any, Protocol, Self, cast

import psutil

from tuning.config import Limits, Workers
from tuning.hardware import available_cores, available_gpus, memory_limit
from tuning.spaces.files import list_spaces
from tuning.spaces.loading import SearchSpace
from tuning.spaces.objects import given_object
from tuning.targets.target import Target
from tuning.workers import worker as worker_module
from tuning.workers.messages import Declare, Request, Response, SpaceDeclared, checked_answer
from tuning.workers.server import copy_server_output, start_server
from tuning.workers.worker import Usage, WorkerSettings, usage_of

# Maximum time to wait for the end of a worker's process.
CLOSE_SECONDS = 5.0
# The memory of a process grows by 1.2 MB with each training of a model of other sizes, because
# oneDNN keeps the code that it has compiled for them. Another process takes 1.4 s more.
MAX_TRAININGS = 25
# Minimum of the default memory limit. A worker that has just started uses 500 MB, most of which is
# shared with the other workers.
MIN_MEMORY_MB = 2048.0
# Share of the machine's memory that all workers together may use by default.
MEMORY_SHARE = 0.9


class AnyWorker(Protocol):
    """A worker, as the dispatcher uses it."""

    @property
    def settings(self) -> WorkerSettings: ...

    @property
    def pid(self) -> int | None:
        """Id of the worker's process on its machine; None until the process has started."""

    @property
    def description(self) -> str:
        """Description of the process or actor, for messages."""

    @property
    def ending(self) -> str:
        """Description of how the worker ended, as a clause that follows "its worker"."""

    @property
    def is_ready(self) -> bool:
        """Whether the worker can be given a training."""

    def send(self, message: Request) -> None:
        """Send a message. If the worker has ended, nothing is raised; `AnyPool.wait` reports it."""

    def measure(self) -> Usage | None:
        """Return the latest measured usage of the worker's process; None without a measurement."""


class AnyPool(Protocol):
    """A fixed number of workers. At the exit of the context manager they are ended."""

    @property
    def workers(self) -> Sequence[AnyWorker]: ...

    @property
    def max_trainings(self) -> int | None:
        """Number of trainings after which a worker is replaced; None: it is never replaced."""

    def wait(self, timeout_seconds: float) -> Sequence[tuple[Any, Response | None]]:
        """Return the messages that arrive within the time; None for a worker that has ended."""

    def call(self, message: Request) -> Response:
        """Send one message to a worker and return the answer. No worker may have a job."""

    def replace(self, worker: Any) -> AnyWorker:
        """End a worker unless it has ended, and start another worker in its place."""

    def threads_of_each(self, n_jobs: int) -> int | None:
        """Return the threads of each of `n_jobs` trainings; None: the number of the settings."""


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program's main module from new processes."""
    # `multiprocessing` imports the main module in a new process. A script that calls `tuning.tune`
    # outside of `if __name__ == "__main__"` would run again in every worker.
    main: dict[str, Any] = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {
        name: main.pop(name) for name in ("__file__", "__spec__") if name in main
    }
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(hidden)


class Worker:
    """The coordinator's side of one process: the process and the pipe to it."""

    def __init__(self, settings: WorkerSettings) -> None:
        context = multiprocessing.get_context("forkserver")
        self.settings = settings
        self.connection, process_connection = context.Pipe()
        self.process = context.Process(
            target=worker_module.run,
            args=(process_connection, settings),
            daemon=True,
            name=f"tuning-{settings.number}",
        )
        with _without_main():
            self.process.start()
        # The pipe closes with the process only if no other process has that end open.
        process_connection.close()
        self.is_ready = True  # Messages wait in the pipe until the process reads them.

    @property
    def pid(self) -> int | None:
        return self.process.pid

    @property
    def description(self) -> str:
        return f"process {self.pid}"

    @property
    def ending(self) -> str:
        self.process.join(CLOSE_SECONDS)
        return f"ended with exit status {self.process.exitcode}"

    def measure(self) -> Usage | None:
        try:
            return usage_of(psutil.Process(self.pid))
        except psutil.Error:  # The process has ended, and `Pool.wait` will report that.
            return None

    def send(self, message: Request) -> None:
        with contextlib.suppress(ConnectionError):
            worker_module.send(self.connection, message)

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()  # The process ignores SIGTERM and has nothing to save.
        self.process.join(CLOSE_SECONDS)


class Pool:
    """A fixed number of worker processes, which share `n_cores` threads and end at the exit of the
    context manager. `memory_mb`: maximum memory that each process may allocate after its start.
    `space`: the place of the study's search space.
    """

    def __init__(
        self,
        n_workers: int,
        *,
        log_path: Path,
        n_cores: int | None = None,
        memory_mb: float | None = None,
        space: Path | None = None,
    ) -> None:
        self._n_cores = n_cores or available_cores()
        n_threads = self.threads_of_each(n_workers)
        self._log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        start_server()
        settings = [
            WorkerSettings(
                number=number,
                n_threads=n_threads,
                log_path=str(log_path),
                memory_mb=memory_mb,
                space=given_object(space),
            )
            for number in range(n_workers)
        ]
        try:
            # The start of the first worker waits until the fork server has loaded Keras.
            self.workers = [Worker(worker_settings) for worker_settings in settings]
        finally:
            copy_server_output(log_path)

    def wait(self, timeout_seconds: float) -> list[tuple[Worker, Response | None]]:
        by_connection = {worker.connection: worker for worker in self.workers}
        ready = mp_connection.wait(list(by_connection), timeout_seconds)
        # mypy: `mp_connection.wait` returns only objects that it was given.
        return [(by_connection[c], _receive(c)) for c in ready]  # type: ignore[index]

    @property
    def max_trainings(self) -> int:
        return MAX_TRAININGS

    def call(self, message: Request) -> Response:
        worker = self.workers[0]
        worker.send(message)
        return checked_answer(_receive(worker.connection), ending=lambda: worker.ending)

    def replace(self, worker: Worker) -> Worker:
        worker.stop()
        new = Worker(worker.settings)
        self.workers[self.workers.index(worker)] = new
        return new

    def threads_of_each(self, n_jobs: int) -> int:
        return max(self._n_cores // n_jobs, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self.workers:
            worker.stop()
        copy_server_output(self._log_path)


def _receive(connection: Any) -> Response | None:
    try:
        return cast(Response, worker_module.receive(connection))
    except (EOFError, ConnectionError):
        return None


def declared_space(pool: AnyPool, request: Declare) -> SearchSpace:
    answer = pool.call(request)
    assert isinstance(answer, SpaceDeclared)  # The only other answer is an error.
    return answer.space


def default_workers() -> int:
    return available_gpus() or available_cores()


def with_memory(limits: Limits, *, n_workers: int) -> Limits:
    if limits.trial_memory_mb is not None:
        return limits
    total = min(psutil.virtual_memory().total, memory_limit() or math.inf)
    share_mb = MEMORY_SHARE * total / n_workers / 2**20
    return replace(limits, trial_memory_mb=max(share_mb, MIN_MEMORY_MB))


@contextlib.contextmanager
def open_pool(
    workers: Workers, limits: Limits, *, log_path: Path, space: Path | None = None
) -> Iterator[tuple[AnyPool, Limits]]:
    """Open the workers of a command, and yield them with limits that have a memory limit. Its
    default is a worker's share of this machine's memory, or of the Ray node where the share is
    smallest.
    """
    if workers.pool == "process":
        n_workers = workers.n_workers or default_workers()
        limits = with_memory(limits, n_workers=n_workers)
        memory_mb = limits.trial_memory_mb
        with Pool(n_workers, log_path=log_path, memory_mb=memory_mb, space=space) as pool:
            yield pool, limits
        return
    from tuning.workers.ray_cluster import default_gpus, join_cluster, node_capacities
    from tuning.workers.ray_pool import RayPool

    cpus, gpus = workers.cpus_per_worker or 1.0, workers.gpus_per_worker
    with join_cluster(workers.ray_address, log_path=log_path):
        gpus = default_gpus() if gpus is None else gpus
        capacities = node_capacities(cpus=cpus, gpus=gpus, n_workers=workers.n_workers)
        if limits.trial_memory_mb is None:
            smallest = min(memory_mb for _, memory_mb in capacities)
            limits = replace(limits, trial_memory_mb=max(smallest, MIN_MEMORY_MB))
        n_workers = workers.n_workers or sum(n for n, _ in capacities)
        memory_mb = limits.trial_memory_mb
        with RayPool(n_workers, cpus=cpus, gpus=gpus, memory_mb=memory_mb, space=space) as ray_pool:
            yield ray_pool, limits


def declared_spaces(*, target: Target) -> dict[str, tuple[Path, SearchSpace]]:
    spaces = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Pool(1, log_path=Path(folder) / "worker.log") as pool,
    ):
        for name, path in list_spaces().items():
            spaces[name] = (path, declared_space(pool, Declare(str(path.absolute()), target)))
    return spaces
