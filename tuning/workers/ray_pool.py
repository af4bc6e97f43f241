"""The pool of workers that are Ray actors on the nodes of a cluster: the coordinator's side.
`ray_worker` is the actor's side.

Messages are sent as JSON strings, together with the files that they name: the source of the search
space, the checkpoint of a paused trial, and a reference to the token ids, which are put into the
object store once and copied to each node once. An actor returns a message and the checkpoint of a
trial that is paused, which is written to the coordinator's disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

from tuning import __version__
from tuning.atomic_io import write_bytes
from tuning.errors import PoolError, StorageError
from tuning.spaces.files import split_place
from tuning.spaces.objects import given_object, is_object
from tuning.workers.messages import (
    Declare,
    Request,
    Response,
    Train,
    TrainingEnded,
    checked_answer,
    decode,
    encode,
)
from tuning.workers.ray_cluster import load_ray, one_line
from tuning.workers.ray_worker import Actor
from tuning.workers.worker import Usage, WorkerSettings, open_splits

logger = logging.getLogger(__name__)

# The actor's methods whose results are awaited. If several results are ready, a message is received
# before the end of the worker.
AWAITED = ("describe", "get", "put", "run")
# Numbers of threads of an actor's concurrency groups, beside the main thread, which trains.
GROUPS = {"put": 1, "get": 1, "measure": 1}
# Maximum time to wait for the actors' removal of their files.
CLOSE_SECONDS = 2.0
# Maximum time for which no worker is ready.
START_SECONDS = 300.0
# Maximum number of workers that are lost before they are ready, while no worker is ready.
MAX_FAILED_STARTS = 10


class PlacedFiles:
    """The files that requests name. Each is read or put into Ray's object store only once."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._sources: dict[str, bytes] = {}
        self._corpora: dict[str, Any] = {}

    def source(self, path: str) -> bytes | None:
        """Return the source of a file; None for an object, which the worker has already."""
        if is_object(path):
            return None
        if path not in self._sources:
            self._sources[path] = split_place(path)[0].read_bytes()
        return self._sources[path]

    def corpus(self, folder: str) -> Any:
        if folder not in self._corpora:
            # Ray shares the arrays of one object among the workers of a node without a copy.
            train, validation, rows = open_splits(folder)
            splits = (train.in_memory(), validation.in_memory(), rows)
            self._corpora[folder] = self._ray.put(splits)
        return self._corpora[folder]


class RayWorker:
    """The coordinator's side of one actor.

    `actor_class` is Ray's class of `Actor`. `awaited` has the references to the results of the
    actor's methods that are running, by the names in `AWAITED`. `failure` is the reason why the
    actor can't be used any more, or "".
    """

    def __init__(
        self, ray: Any, settings: WorkerSettings, *, actor_class: Any, files: PlacedFiles
    ) -> None:
        self.settings = settings
        self.pid: int | None = None
        self.failure = ""
        self._ray, self._files = ray, files
        # The coordinator's file for the checkpoint or for the predictions.
        self._checkpoint: Path | None = None
        self._usage: Usage | None = None
        self._measuring: Any = None
        self._actor = actor_class.remote(settings)
        self.awaited = {"describe": self._actor.describe.remote()}

    @property
    def is_ready(self) -> bool:
        return self.pid is not None and not self.failure

    @property
    def description(self) -> str:
        return f"Ray actor {self._actor._actor_id.hex()[:8]}"

    @property
    def ending(self) -> str:
        return f"was lost with process {self.pid}: {self.failure}"

    def send(self, message: Request) -> None:
        if self.failure:
            return
        source = checkpoint = corpus = None
        if isinstance(message, Declare):
            source = self._files.source(message.path)
        elif isinstance(message, Train):
            source = self._files.source(message.space_path)
            # The usage of the previous trial must not count for this trial.
            self._usage = self._measuring = None
            corpus = self._files.corpus(message.corpus)
            path = message.job.checkpoint or message.job.predictions
            self._checkpoint = Path(path) if path else None
            if self._checkpoint and message.job.resume:
                checkpoint = self._checkpoint.read_bytes()
        text = encode(message).decode()
        self.awaited["put"] = self._call("put", "put", text, source, checkpoint, corpus)

    def receive(self, ready: set[Any]) -> Response | None:
        """Handle the first result in `ready`, the references of finished calls. Return None where
        the result is no message: the worker has started, has received a message, or is lost.
        """
        name = next(name for name in AWAITED if self.awaited.get(name) in ready)
        reference = self.awaited.pop(name)
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._fail(error)
            return None
        if name == "get":
            self.awaited["get"] = self._call("get", "get")
            return self._unpack(*value)
        if name == "describe":
            self._start(*value)
        elif name == "run":
            self.failure, self.awaited = "its process ended", {}
        return None

    def measure(self) -> Usage | None:
        """Return the usage at an earlier call: each call starts a measurement for a later one."""
        if self._measuring is not None and self._ray.wait([self._measuring], timeout=0)[0]:
            # If the actor is lost, the results in `awaited` raise as well, and `receive` handles
            # that.
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._usage = Usage(*self._ray.get(self._measuring))
            self._measuring = None
        if self._measuring is None and self.is_ready:
            self._measuring = self._call("measure", "measure")
        return self._usage

    def close(self) -> Any:
        """Return a reference that is ready when the process has ended."""
        return self._call("measure", "close")

    def kill(self) -> None:
        self._ray.kill(self._actor)
        self.failure, self.awaited = self.failure or "it was ended", {}

    def _call(self, group: str, method: str, *arguments: Any) -> Any:
        return getattr(self._actor, method).options(concurrency_group=group).remote(*arguments)

    def _start(self, pid: int, version: str) -> None:
        if version != __version__:
            raise PoolError(
                f"Every node must have version {__version__} of this package; a node has {version}."
                " Install the same version on that node."
            )
        self.pid = pid
        self.awaited |= {"get": self._call("get", "get"), "run": self._actor.run.remote()}

    def _fail(self, error: Exception) -> None:
        is_error_of_code = getattr(error, "actor_init_failed", False) or not isinstance(
            error, self._ray.exceptions.RayActorError
        )
        if self.pid is None and is_error_of_code:
            raise PoolError(
                "A worker must start on every node, and every node must have this package"
                f" installed; a start failed with: {one_line(error)}"
            ) from error
        self.failure, self.awaited = one_line(error), {}

    def _unpack(self, text: str, checkpoint: bytes | None) -> Response:
        """Write the checkpoint or the predictions that came with a message. If the disk has no
        space for the checkpoint, `paused` of the message's result becomes False.
        """
        message = cast(Response, decode(text.encode()))
        if checkpoint is not None and self._checkpoint:
            try:
                write_bytes(self._checkpoint, checkpoint)
            except StorageError as error:
                logger.warning("The file of a training was not kept: %s", error)
                if isinstance(message, TrainingEnded):
                    message.result.paused = False
        return message


class RayPool:
    """A fixed number of actors in the cluster that this process has joined (`join_cluster`). If no
    node has room for a worker, Ray starts the worker later, and the other workers go on.
    """

    def __init__(
        self,
        n_workers: int,
        *,
        cpus: float,
        gpus: float,
        memory_mb: float | None = None,
        space: Path | None = None,
    ) -> None:
        self._ray = ray = load_ray(local=False)
        actor_class = ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=0,
            scheduling_strategy="SPREAD",
            concurrency_groups=GROUPS,
        )(Actor)
        self._start = partial(RayWorker, ray, actor_class=actor_class, files=PlacedFiles(ray))
        self._n_failed_starts, self._last_ready = 0, time.monotonic()
        n_threads = max(int(cpus), 1)
        self.workers = [
            # Ray writes the output of an actor to a file of the node, so `log_path` is not used.
            self._start(
                WorkerSettings(
                    number=number,
                    n_threads=n_threads,
                    log_path=os.devnull,
                    memory_mb=memory_mb,
                    space=given_object(space),
                )
            )
            for number in range(n_workers)
        ]

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
        """Wait until a call has finished, and return the references to all results that are ready,
        by worker.
        """
        by_reference = {
            reference: worker for worker in self.workers for reference in worker.awaited.values()
        }
        if not by_reference:
            return {}
        # `wait` must report a lost worker at once.
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
        # A worker is lost before it is ready if its node is shutting down, for example.
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
        while not (ready := [worker for worker in self.workers if worker.is_ready]):
            self.wait(1.0)
        ready[0].send(message)
        while True:
            for worker, answer in self.wait(1.0):
                if worker is ready[0]:
                    return checked_answer(answer, ending=lambda: ready[0].ending)

    def replace(self, worker: RayWorker) -> RayWorker:
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

    def __exit__(self, *error: object) -> None:
        self._end(self.workers)
