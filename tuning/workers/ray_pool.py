"""The workers as Ray actors over a cluster; `ray_worker` is their side.

A message travels as a JSON string. With it goes what it names of this machine's disk: the search
space's source, a paused trial's checkpoint, and a reference to the token ids, which are placed in
the object store once and copied to a node once. What comes back is a message and, of a trial that
has paused, its checkpoint, which is written here.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from tuning import __version__
from tuning.data.corpus import open_corpus
from tuning.errors import ArgumentError, PoolError, SpaceError, StorageError
from tuning.results import write_bytes
from tuning.workers.messages import (
    Declare,
    Request,
    Response,
    Train,
    TrainingEnded,
    decode,
    encode,
)
from tuning.workers.pool import answer_of
from tuning.workers.ray_cluster import Shares, gpus_of, load_ray, short
from tuning.workers.ray_worker import SPLITS, Actor, arrays_of
from tuning.workers.worker import Measured, WorkerSettings

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
START_SECONDS = 300.0  # without a worker that is ready
MAX_FAILED_STARTS = 10  # in a row
AWAITED = ("introduce", "hear", "tell", "work")  # a message is taken before the end of the worker
GROUPS = {"tell": 1, "hear": 1, "measure": 1}  # threads of an actor, beside the one that trains


class _Files:
    """What travels of this machine's disk, each read or placed once."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._sources: dict[str, bytes] = {}
        self.corpora: dict[str, Any] = {}

    def source(self, path: str) -> bytes:
        if path not in self._sources:
            try:
                self._sources[path] = Path(path).read_bytes()
            except OSError as error:
                raise SpaceError(
                    f"--space must name a file that can be read; {path} gave {error.strerror!r}."
                ) from error
        return self._sources[path]

    def corpus(self, folder: str) -> Any:
        """A reference to the arrays of a corpus; they are not read from the disk by any worker."""
        if folder not in self.corpora:
            corpus = open_corpus(Path(folder))
            arrays = {
                key: array
                for name in SPLITS
                for key, array in arrays_of(corpus.split(name), name).items()
            }
            self.corpora[folder] = self._ray.put(arrays)
        return self.corpora[folder]


class RayWorker:
    """One actor, and what is awaited of it."""

    def __init__(self, ray: Any, settings: WorkerSettings, shares: Shares, files: _Files) -> None:
        self.settings, self._shares = settings, shares
        self.pid: int | None = None
        self.failure = ""  # why it can be of no use any more
        self._ray, self._files = ray, files
        self._checkpoint: Path | None = None  # of its trial
        self._measured: Measured | None = None
        self._measuring: Any = None
        remote = ray.remote(
            num_cpus=shares.cpus,
            num_gpus=gpus_of(shares),
            max_restarts=0,
            scheduling_strategy="SPREAD",
            concurrency_groups=GROUPS,
        )
        self._actor = remote(Actor).remote(settings.number, settings.n_threads, settings.memory_mb)
        self.awaited = {"introduce": self._actor.introduce.remote()}

    @property
    def is_ready(self) -> bool:
        return self.pid is not None and not self.failure

    @property
    def place(self) -> str:
        return f"Ray actor {self._actor._actor_id.hex()[:8]}"

    @property
    def ending(self) -> str:
        return f"was lost with process {self.pid}: {self.failure}"

    def send(self, message: Request) -> None:
        """Send a message with what it names of this machine's disk; a worker that is lost is
        noticed by `RayPool.wait`.
        """
        if self.failure:
            return
        source = checkpoint = corpus = None
        if isinstance(message, Declare):
            source = self._files.source(message.path)
        elif isinstance(message, Train):
            source = self._files.source(message.space_path)
            self._measured = self._measuring = None  # those of the trial before say nothing
            corpus = self._files.corpus(message.corpus)
            self._checkpoint = Path(message.job.checkpoint) if message.job.checkpoint else None
            if self._checkpoint and message.job.resume:
                checkpoint = self._checkpoint.read_bytes()
        text = encode(message).decode()
        self.awaited["tell"] = self._call("tell", "tell", text, source, checkpoint, corpus)

    def receive(self, ready: set[Any]) -> Response | None:
        """The message that has come; None where what has come is that the worker has started, has
        been told, or is lost.
        """
        name = next(name for name in AWAITED if self.awaited.get(name) in ready)
        ref = self.awaited.pop(name)
        try:
            value = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._lose(error)
            return None
        if name == "hear":
            self.awaited["hear"] = self._call("hear", "hear")
            return self._unpack(*value)
        if name == "introduce":
            self._begin(*value)
        elif name == "work":
            self.failure, self.awaited = "it ended by itself", {}
        return None

    def measure(self) -> Measured | None:
        """What its process had taken when it last said so: it is asked, and the answer is there the
        next time.
        """
        if self._measuring is not None and self._ray.wait([self._measuring], timeout=0)[0]:
            with contextlib.suppress(
                self._ray.exceptions.RayError
            ):  # it is lost, which what is awaited of it will tell
                self._measured = Measured(*self._ray.get(self._measuring))
            self._measuring = None
        if self._measuring is None and self.is_ready:
            self._measuring = self._call("measure", "measure")
        return self._measured

    def close(self) -> Any:
        """Have it remove its files and end; a reference to wait for."""
        return self._call("measure", "close")

    def kill(self) -> None:
        self._ray.kill(self._actor)
        self.failure, self.awaited = self.failure or "it was ended", {}

    def _call(self, group: str, method: str, *arguments: Any) -> Any:
        return getattr(self._actor, method).options(concurrency_group=group).remote(*arguments)

    def _begin(self, pid: int, version: str) -> None:
        if version != __version__:
            raise PoolError(
                f"Every node must have version {__version__} of this package; one has {version}."
                " Install the same there."
            )
        self.pid = pid
        self.awaited |= {"hear": self._call("hear", "hear"), "work": self._actor.work.remote()}

    def _lose(self, error: Exception) -> None:
        never = getattr(error, "actor_init_failed", False) or not isinstance(
            error, self._ray.exceptions.RayActorError
        )
        if self.pid is None and never:
            raise PoolError(
                "A worker must start on every node, which must have this package installed; one"
                f" gave: {short(error)}"
            ) from error
        self.failure, self.awaited = short(error), {}

    def _unpack(self, text: str, checkpoint: bytes | None) -> Response:
        """A message; a checkpoint is written, and a disk without space for it costs the trial's
        chance to go on, as on one machine.
        """
        message = cast(Response, decode(text.encode()))
        if checkpoint is not None and self._checkpoint:
            try:
                write_bytes(self._checkpoint, checkpoint)
            except StorageError as error:
                logger.warning("not paused but stopped: %s", error)
                if isinstance(message, TrainingEnded):
                    message.result.paused = False
        return message


class RayPool:
    """Workers over the cluster that this process has joined (`joined`). A context manager: leaving
    it ends them.

    A worker that has no room waits for it, and the others go on.

    Args:
        memory_mb: what each may allocate beyond what it holds when it starts; None: no limit.
    """

    def __init__(
        self, n_workers: int, *, shares: Shares, log_path: Path, memory_mb: float | None = None
    ) -> None:
        if n_workers < 1:
            raise ArgumentError(f"n_workers must be 1 or more; received {n_workers}.")
        self._ray = load_ray(local=False)
        self._shares, self._files = shares, _Files(self._ray)
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
        return RayWorker(self._ray, settings, self._shares, self._files)

    def wait(self, timeout_seconds: float) -> list[tuple[RayWorker, Response | None]]:
        """The messages that arrive within the time; None from a worker that is lost.

        Raises:
            PoolError: no worker has been ready for `START_SECONDS`, or none starts.
        """
        by_ref = {ref: worker for worker in self.workers for ref in worker.awaited.values()}
        any_lost = any(worker.failure for worker in self.workers)
        ready = (
            self._ray.wait([*by_ref], timeout=0 if any_lost else timeout_seconds)[0]
            if by_ref
            else []
        )
        if ready:
            ready = self._ray.wait([*by_ref], num_returns=len(by_ref), timeout=0)[0]
        heard: list[tuple[RayWorker, Response | None]] = []
        for worker in {by_ref[ref]: None for ref in ready}:
            message = worker.receive(set(ready))
            if message is not None:
                heard.append((worker, message))
        self._renew()
        silent = [worker for worker in self.workers if worker.failure and worker not in dict(heard)]
        return [*heard, *((worker, None) for worker in silent)]

    def _renew(self) -> None:
        """Start those again that were lost before they were ready, as on a node that is going;
        there may be no end of them.
        """
        for worker in [worker for worker in self.workers if worker.failure and worker.pid is None]:
            self._n_failed_starts += 1
            if self._n_failed_starts >= MAX_FAILED_STARTS:
                raise PoolError(
                    f"Workers must start on the Ray cluster; {MAX_FAILED_STARTS} did not, the last"
                    f" for: {worker.failure}"
                )
            self.replace(worker)
        if any(worker.is_ready for worker in self.workers):
            self._n_failed_starts, self._last_ready = 0, time.monotonic()
        elif time.monotonic() - self._last_ready > START_SECONDS:
            raise PoolError(
                f"The Ray cluster must have room for a worker; it had none for {START_SECONDS:g} s."
                " What is finished is kept: add a node, or wait until other programs have left"
                " theirs, then go on with the same command."
            )

    def ask(self, message: Request) -> Response:
        """Send one message to the first worker that is ready and wait for its answer, when nothing
        else is running.

        Raises:
            TuningError: what the worker raised, or that it died.
        """
        while not (ready := [worker for worker in self.workers if worker.is_ready]):
            self.wait(1.0)
        ready[0].send(message)
        while True:
            for worker, answer in self.wait(1.0):
                if worker is ready[0]:
                    return answer_of(worker, answer)

    def replace(self, worker: RayWorker) -> RayWorker:
        """Start another worker in the place of one that is lost or to be ended, where there is room
        for it.
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(self.workers)
