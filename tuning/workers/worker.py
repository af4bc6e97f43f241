"""The process that trains: Keras stays loaded, one trial at a time, each epoch's metrics go to the
coordinator.

A worker imports no Optuna: it receives and sends the messages of `tuning.workers.messages`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, Protocol

import psutil

from tuning.data.corpus import LabelledTexts, open_corpus
from tuning.errors import SpaceBug, TuningError
from tuning.training.result import Answer, Epoch, Infeasible, OverLimit
from tuning.workers.messages import (
    Declare,
    EpochEnded,
    ErrorRaised,
    Message,
    ModelRefused,
    Reply,
    Response,
    SpaceDeclared,
    Train,
    TrainingEnded,
    TrainingFailed,
    decode,
    encode,
)

Splits = tuple[LabelledTexts, LabelledTexts]  # the training and the validation split


class Line(Protocol):
    """What carries messages between a worker and the coordinator: a pipe, or an actor's
    two queues.
    """

    def send_bytes(self, data: bytes, /) -> None: ...
    def recv_bytes(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What every trial of a worker shares; strings and numbers only, since it crosses a process
    boundary.
    """

    number: int
    n_threads: int
    log_path: str
    memory_mb: float | None = None


@dataclass(frozen=True)
class Measured:
    """What a worker's process has taken: seconds of computing since its start, and
    resident memory.
    """

    cpu_seconds: float
    memory_mb: float


def measured(process: psutil.Process) -> Measured:
    """Measure a process.

    Raises:
        psutil.Error: it has died.
    """
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
    return Measured(times.user + times.system, memory.rss / 2**20)


def send(line: Line, message: Message) -> None:
    """Send one message."""
    line.send_bytes(encode(message))


def receive(line: Line) -> Message:
    """Wait for one message.

    Raises:
        EOFError: the other side has closed the line.
    """
    return decode(line.recv_bytes())


def open_splits(folder: str) -> Splits:
    """What a worker trains and validates on, from the folder of a tokenised corpus.

    Raises:
        StorageError: it is not there.
    """
    corpus = open_corpus(Path(folder))
    return corpus.split("train"), corpus.split("validation")


def run(connection: Connection, settings: WorkerSettings) -> None:
    """The body of a process at the end of a pipe."""
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # Slurm sends it to the whole job; the coordinator decides
    _log_to(settings.log_path)
    prepare(settings)
    serve(connection)


def prepare(settings: WorkerSettings) -> None:
    """Make this process, in its main thread, one that trains: its device or threads, and its limit
    of memory.
    """
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole terminal; the coordinator decides
    _claim_device(settings)
    if settings.memory_mb is not None:
        _limit_memory(settings.memory_mb)


def serve(line: Line, *, splits_of: Callable[[str], Splits] = open_splits) -> None:
    """Answer messages until the coordinator hangs up. `splits_of` opens the corpus that a message
    names.
    """
    state = _Worker(line, splits_of)
    try:
        while True:
            started = time.perf_counter()
            message = receive(line)
            state.idle_seconds += time.perf_counter() - started
            send(line, state.answer(message))
    except (EOFError, ConnectionError):
        return


def _log_to(path: str) -> None:
    """Send standard output and error, TensorFlow's own lines included, to the study's log."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _claim_device(settings: WorkerSettings) -> None:
    """One GPU a worker where there are GPUs, in turn; else so many threads."""
    import tensorflow as tf
    import threadpoolctl

    threadpoolctl.threadpool_limits(
        settings.n_threads, user_api="blas"
    )  # NumPy's: the LSTM kernel's products
    tf.config.threading.set_intra_op_parallelism_threads(settings.n_threads)
    tf.config.threading.set_inter_op_parallelism_threads(settings.n_threads)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        mine = gpus[settings.number % len(gpus)]
        tf.config.set_visible_devices(mine, "GPU")
        tf.config.experimental.set_memory_growth(mine, True)


def _limit_memory(memory_mb: float) -> None:
    """Have an allocation beyond the limit fail with a MemoryError, where the system can (Linux),
    before the machine runs out.

    Counted is what the process may write to, from here on; Keras alone reserves some GiB that it
    never touches.
    """
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(
            resource.RLIMIT_DATA,
            (held + int(memory_mb * 2**20), resource.getrlimit(resource.RLIMIT_DATA)[1]),
        )


class _Worker:
    """What stays loaded between trials: the hypermodel and the corpus, on a memory map or in shared
    memory.
    """

    def __init__(self, line: Line, splits_of: Callable[[str], Splits]) -> None:
        self.idle_seconds = 0.0  # since the last trial
        self._line, self._splits_of = line, splits_of
        self._hypermodels: dict[str, Any] = {}
        self._splits: dict[str, Splits] = {}

    def answer(self, message: Message) -> Response:
        try:
            if isinstance(message, Declare):
                return self._declare(message)
            assert isinstance(message, Train)  # a `Reply` is received by the training itself
            return self._train(message)
        except (EOFError, ConnectionError):
            raise
        except SpaceBug as bug:
            return ErrorRaised("SpaceBug", str(bug), bug.traceback)
        except TuningError as error:
            return ErrorRaised(type(error).__name__, str(error), "")
        # Any other exception is a bug. It is sent to the coordinator, which stops the study and
        # shows it.
        except Exception as error:  # noqa: BLE001
            text = f"{type(error).__name__}: {error}"
            return ErrorRaised("bug", text, traceback.format_exc())

    def _declare(self, message: Declare) -> Response:
        from tuning.spaces.loading import declare
        from tuning.training.fit import try_fit

        space = declare(Path(message.path), n_classes=message.n_classes, try_fit=try_fit)
        return SpaceDeclared(space)

    def _train(self, message: Train) -> Response:
        from tuning.training import checkpoints, fit

        idle_seconds, self.idle_seconds = self.idle_seconds, 0.0
        train, validation = self._open(message.corpus)
        job = message.job
        try:
            model, result = fit.fit(
                self._load(message.space_path),
                job,
                train=train + validation if job.with_validation else train,
                validation=None if job.with_validation else validation,
                on_epoch=self._on_epoch,
                idle_seconds=idle_seconds,
            )
        except OverLimit as error:
            return ModelRefused(error.result)
        except Infeasible as error:
            return TrainingFailed(error.reason, str(error))
        if job.weights:
            checkpoints.save(Path(job.weights), checkpoints.state_of(model), result)
        return TrainingEnded(result)

    def _on_epoch(self, epoch: Epoch) -> Answer:
        send(self._line, EpochEnded(epoch))
        reply = receive(self._line)
        assert isinstance(reply, Reply)  # the coordinator sends nothing else to a training
        return reply.answer

    def _open(self, folder: str) -> Splits:
        if folder not in self._splits:
            self._splits = {folder: self._splits_of(folder)}
        return self._splits[folder]

    def _load(self, path: str) -> Any:
        from tuning.spaces.loading import load_hypermodel

        if path not in self._hypermodels:
            self._hypermodels[path] = load_hypermodel(Path(path))
        return self._hypermodels[path]


def raise_error(message: ErrorRaised) -> NoReturn:
    """Raise, in the coordinator, the error that a worker sent.

    Raises:
        TuningError: of the class that the message names. A bug is a `SpaceBug`, because the only
            code of a trial that does not belong to this program is that of the search space.
    """
    import tuning.errors

    if message.error in ("SpaceBug", "bug"):
        raise SpaceBug(message.message, traceback=message.traceback)
    raise getattr(tuning.errors, message.error)(message.message)
