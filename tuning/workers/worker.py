"""The process that trains one trial at a time and sends the metrics of each epoch to the
coordinator. Keras stays loaded between trials.

A worker does not import Optuna: it receives and sends the messages of `tuning.workers.messages`.
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
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import psutil

from tuning.data.rows import Rows
from tuning.errors import SpaceBug, TuningError
from tuning.hardware import allocated_memory
from tuning.inputs.contract import LabeledTexts, resplit
from tuning.inputs.corpus import open_corpus
from tuning.inputs.kinds import narrowed
from tuning.kernels.threads import set_threads
from tuning.spaces.objects import keep
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

# The training and the validation split, and how the rows of both may be split again.
Splits = tuple[LabeledTexts, LabeledTexts, Rows]
SplitsOf = Callable[[str], Splits]  # Returns the splits of a tokenized corpus.


class Channel(Protocol):
    def send_bytes(self, data: bytes, /) -> None: ...
    def recv_bytes(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The settings of a worker for all of its trials: strings, bytes and numbers only, because they
    are sent to another process. `memory_mb`: maximum memory that the process may allocate after its
    start. `space`: the place and the pickle of a search space that is a Python object.
    """

    number: int
    n_threads: int
    log_path: str
    memory_mb: float | None = None
    space: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class Usage:
    """The usage of a worker's process: CPU seconds since its start, and its own memory in MB."""

    cpu_seconds: float
    memory_mb: float


def usage_of(process: psutil.Process) -> Usage:
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
    shared = getattr(memory, "shared", 0)  # Data that all workers map into their memory.
    return Usage(times.user + times.system, (memory.rss - shared) / 2**20)


def send(channel: Channel, message: Message) -> None:
    channel.send_bytes(encode(message))


def receive(channel: Channel) -> Message:
    return decode(channel.recv_bytes())


def open_splits(folder: str) -> Splits:
    corpus = open_corpus(Path(folder))
    return corpus.split("train"), corpus.split("validation"), corpus.rows


def run(connection: Connection, settings: WorkerSettings) -> None:
    # A job scheduler may send SIGTERM to all processes of a job. Only the coordinator reacts to it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _log_to(settings.log_path)
    prepare(settings)
    serve(connection, n_threads=settings.n_threads)


def prepare(settings: WorkerSettings) -> None:
    """Call this function in the main thread, before TensorFlow runs an operation."""
    # Ctrl-C reaches all processes of a terminal. Only the coordinator reacts to the signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _set_device(settings)
    if settings.memory_mb is not None:
        _limit_memory(settings.memory_mb)
    if settings.space is not None:
        keep(*settings.space)


def serve(channel: Channel, *, n_threads: int, splits_of: SplitsOf = open_splits) -> None:
    """Answer requests until the coordinator closes the channel."""
    state = _WorkerState(channel, n_threads, splits_of)
    try:
        while True:
            started = time.perf_counter()
            message = receive(channel)
            state.idle_seconds += time.perf_counter() - started
            send(channel, state.answer(message))
    except (EOFError, ConnectionError):
        return


def _log_to(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _set_device(settings: WorkerSettings) -> None:
    import tensorflow as tf
    import threadpoolctl

    # NumPy's BLAS serves the metrics; TensorFlow and the kernels have threads of their own.
    threadpoolctl.threadpool_limits(settings.n_threads, user_api="blas")
    tf.config.threading.set_intra_op_parallelism_threads(settings.n_threads)
    tf.config.threading.set_inter_op_parallelism_threads(settings.n_threads)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        gpu = gpus[settings.number % len(gpus)]
        tf.config.set_visible_devices(gpu, "GPU")
        tf.config.experimental.set_memory_growth(gpu, True)


def _limit_memory(memory_mb: float) -> None:
    """Set a limit beyond which an allocation raises `MemoryError` (Linux)."""
    # Keras has reserved some GiB that it never uses, so the limit is for the writable memory that
    # the process allocates from now on.
    allocated = allocated_memory()
    if allocated is None:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(
            resource.RLIMIT_DATA,
            (allocated + int(memory_mb * 2**20), resource.getrlimit(resource.RLIMIT_DATA)[1]),
        )


class _WorkerState:
    """The hypermodels, and the splits of the last corpus, stay loaded between trials."""

    def __init__(self, channel: Channel, n_threads: int, splits_of: SplitsOf) -> None:
        self.idle_seconds = 0.0  # Time without a trial since the last trial.
        self._channel, self._n_threads, self._splits_of = channel, n_threads, splits_of
        self._hypermodels: dict[str, Any] = {}
        self._splits: dict[str, Splits] = {}

    def answer(self, message: Message) -> Response:
        try:
            if isinstance(message, Declare):
                return self._declare(message)
            assert isinstance(message, Train)  # `_on_epoch` receives each `Reply`.
            return self._train(message)
        except (EOFError, ConnectionError):
            raise
        except SpaceBug as bug:
            return ErrorRaised("SpaceBug", str(bug), bug.traceback)
        except TuningError as error:
            return ErrorRaised(type(error).__name__, str(error), "")
        # Any other exception is a bug. The coordinator stops the study and shows the exception.
        except Exception as error:  # noqa: BLE001
            # `SpaceBug` leaves out the colors of Keras' messages.
            plain = SpaceBug(f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
            return ErrorRaised("bug", str(plain), plain.traceback)

    def _declare(self, message: Declare) -> Response:
        from tuning.spaces.loading import declare
        from tuning.training.loops import try_fit

        space = declare(
            Path(message.path),
            **message.target.facts,
            preset=message.preset,
            sizes=message.sizes,
            try_fit=partial(try_fit, target=message.target, is_weighted=message.is_weighted),
        )
        return SpaceDeclared(space)

    def _train(self, message: Train) -> Response:
        from tuning.training import fit

        set_threads(self._n_threads)
        idle_seconds, self.idle_seconds = self.idle_seconds, 0.0
        job = message.job
        train, validation, rows = self._open(message.corpus)
        train, validation = (
            narrowed(split, job.values, takes_texts=message.takes_texts)
            for split in (train, validation)
        )
        hypermodel = self._load(message.space_path)
        options: Any = {"on_epoch": self._on_epoch, "idle_seconds": idle_seconds}
        try:
            if job.redraw and job.redraw.n_folds > 1:
                from tuning.training.folds import fit_folds  # It imports pandas.

                result = fit_folds(
                    hypermodel, job, train=train, validation=validation, rows=rows, **options
                )
                return TrainingEnded(result)
            if job.redraw:
                from tuning.data.redraw import redrawn  # It imports pandas.

                share = len(validation.labels) / len(rows.texts)
                (new,) = redrawn(rows, job.redraw, validation_share=share)
                train, validation = resplit(train, validation, new)
            _, result = fit.fit(
                hypermodel,
                job,
                train=train + validation if job.with_validation else train,
                validation=None if job.with_validation else validation,
                **options,
            )
        except OverLimit as error:
            return ModelRefused(error.result)
        except Infeasible as error:
            return TrainingFailed(error.reason, str(error))
        return TrainingEnded(result)

    def _on_epoch(self, epoch: Epoch) -> Answer:
        send(self._channel, EpochEnded(epoch))
        reply = receive(self._channel)
        assert isinstance(reply, Reply)  # The coordinator sends no other message to a training.
        set_threads(reply.n_threads or self._n_threads)
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
