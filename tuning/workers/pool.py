"""Starts, feeds and replaces workers.

Workers are forked from a server process that has Keras imported but has run no op: a start takes
0.1 s, not TensorFlow's import.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from multiprocessing import connection as mp_connection
from multiprocessing import forkserver
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

import psutil

from tuning.errors import ArgumentError, SpaceError
from tuning.hardware import available_cores
from tuning.results import translated
from tuning.spaces.loading import SearchSpace
from tuning.workers import worker as worker_module
from tuning.workers.messages import Declare, ErrorRaised, Request, Response, SpaceDeclared
from tuning.workers.worker import Measured, WorkerSettings, measured

CLOSE_SECONDS = 5.0


class AnyWorker(Protocol):
    """What a search knows of a worker, wherever it runs."""

    @property
    def settings(self) -> WorkerSettings: ...

    @property
    def pid(self) -> int | None:
        """Its process on its machine; None until it has started."""

    @property
    def place(self) -> str:
        """Where it runs, in words."""

    @property
    def ending(self) -> str:
        """How it ended, as a clause that follows "its worker"."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be sent a training."""

    def send(self, message: Request) -> None:
        """Send a message; a worker that has died is noticed by the pool's `wait`."""

    def measure(self) -> Measured | None:
        """What its process has taken by now, or did when that was last known; None: not known."""


class AnyPool(Protocol):
    """What a search knows of its workers. A context manager: leaving it ends them."""

    @property
    def workers(self) -> Sequence[AnyWorker]: ...

    def wait(self, timeout_seconds: float) -> Sequence[tuple[Any, Response | None]]:
        """The messages that arrive within the time, each with its worker; None from a worker that
        has died.
        """

    def ask(self, message: Request) -> Response:
        """Send one message to a worker and wait for its answer, when nothing else is running."""

    def replace(self, worker: Any) -> AnyWorker:
        """Start another worker in the place of one that is dead or to be ended."""


class Worker:
    """One training process and the pipe to it."""

    def __init__(self, settings: WorkerSettings) -> None:
        context = multiprocessing.get_context("forkserver")
        self.settings = settings
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=worker_module.run,
            args=(theirs, settings),
            daemon=True,
            name=f"tuning-{settings.number}",
        )
        self.process.start()
        theirs.close()  # so that its end is seen when it dies
        self.is_ready = True  # what is sent now waits in the pipe

    @property
    def pid(self) -> int | None:
        return self.process.pid

    @property
    def place(self) -> str:
        return f"process {self.pid}"

    @property
    def ending(self) -> str:
        self.process.join(CLOSE_SECONDS)
        return f"ended with exit status {self.process.exitcode}"

    def measure(self) -> Measured | None:
        try:
            return measured(psutil.Process(self.pid))
        except psutil.Error:  # it has died, which its pipe will tell
            return None

    def send(self, message: Request) -> None:
        """Send a message; a worker that has died is noticed by `Pool.wait`, not here."""
        with contextlib.suppress(ConnectionError):
            worker_module.send(self.connection, message)

    def stop(self) -> None:
        """Hang up, then end it; it has nothing to put away, and does not listen to SIGTERM."""
        self.connection.close()
        self.process.kill()
        self.process.join(CLOSE_SECONDS)


class Pool:
    """A fixed number of workers, each idle or at one trial. A context manager: leaving it ends the
    workers.

    Args:
        n_workers: processes; each gets an equal share of `n_cores` threads, one at least.
        memory_mb: what each may allocate beyond what it holds when it starts; None: no limit.
    """

    def __init__(
        self,
        n_workers: int,
        *,
        log_path: Path,
        n_cores: int | None = None,
        memory_mb: float | None = None,
    ) -> None:
        if n_workers < 1:
            raise ArgumentError(f"n_workers must be 1 or more; received {n_workers}.")
        n_threads = max((n_cores or available_cores()) // n_workers, 1)
        start_server(log_path)
        settings = [
            WorkerSettings(
                number=number, n_threads=n_threads, log_path=str(log_path), memory_mb=memory_mb
            )
            for number in range(n_workers)
        ]
        self.workers = [Worker(one) for one in settings]

    def wait(self, timeout_seconds: float) -> list[tuple[Worker, Response | None]]:
        """The messages that arrive within the time; None from a worker that has died."""
        by_connection = {worker.connection: worker for worker in self.workers}
        ready = mp_connection.wait(list(by_connection), timeout_seconds)
        return [(by_connection[c], _receive(c)) for c in ready]  # type: ignore[index]  # they are our connections

    def ask(self, message: Request) -> Response:
        """Send one message to the first worker and wait for its answer, when nothing else is
        running.

        Raises:
            TuningError: what the worker raised, or that it died.
        """
        worker = self.workers[0]
        worker.send(message)
        return answer_of(worker, _receive(worker.connection))

    def replace(self, worker: Worker) -> Worker:
        """Start another worker in the place of one that is dead or to be ended."""
        worker.stop()
        new = Worker(worker.settings)
        self.workers[self.workers.index(worker)] = new
        return new

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.stop()


def answer_of(worker: AnyWorker, answer: Response | None) -> Response:
    """What a worker that was asked has answered; None: it died, which nothing but a space's own
    code does to it.

    Raises:
        TuningError: what the worker raised, or that it died.
    """
    if answer is None:
        raise SpaceError(f"A worker must live to answer; it {worker.ending}.")
    if isinstance(answer, ErrorRaised):
        worker_module.raise_error(answer)
    return answer


def declared_space(pool: AnyPool, path: Path, *, n_classes: int) -> SearchSpace:
    """Return what the search space in a file declares.

    Raises:
        TuningError: what the worker raised, or that it died.
    """
    answer = pool.ask(Declare(str(path), n_classes))
    assert isinstance(answer, SpaceDeclared)  # the only other answer is an error
    return answer.space


def default_workers() -> int:
    """One for each GPU where there are GPUs, else one for each core."""
    return available_gpus() or available_cores()


def available_gpus() -> int:
    """How many GPUs of this machine its workers see.

    NVIDIA's driver lists them in /proc; asking TensorFlow would start it in the coordinator.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = (
        list(Path("/proc/driver/nvidia/gpus").glob("*"))
        if importlib.util.find_spec("nvidia")
        else []
    )  # the extra gpu's libraries
    return (
        len(gpus)
        if visible is None
        else min(len(gpus), len([name for name in visible.split(",") if name.strip()]))
    )


def start_server(log_path: Path) -> None:
    """Start the process that workers are forked from; it imports Keras while the coordinator goes
    on. A second call does nothing.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    multiprocessing.set_forkserver_preload(["tuning.workers.forkserver"])
    with worker_environment(), stderr_to(log_path):
        forkserver.ensure_running()


@contextlib.contextmanager
def worker_environment() -> Iterator[None]:
    """What the server and its workers inherit: quiet TensorFlow, and this package on the path
    wherever they start.
    """
    root = str(Path(__file__).resolve().parents[2])
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, old]))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        yield
    finally:
        if old is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = old


@contextlib.contextmanager
def stderr_to(path: Path) -> Iterator[None]:
    """Lend this process's standard error to a file while a child inherits it: TensorFlow's start-up
    lines go there.
    """
    with translated(path):
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    saved = os.dup(2)
    try:
        os.dup2(log, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(log)


def _receive(connection: Any) -> Response | None:
    try:
        return cast(Response, worker_module.receive(connection))
    except (EOFError, ConnectionError):
        return None
