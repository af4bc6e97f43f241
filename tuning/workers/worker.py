"""The process that trains: Keras stays loaded, one trial at a time, each epoch's metrics go to the
coordinator.

It knows no Optuna: it receives plain values and sends plain values, as JSON.

| received | answered |
|---|---|
| `declare`: path, n_classes | `space`: space |
| `train`: values, … | `epoch`: number, metrics, seconds; answered by `go`: true, false or "pause" |
| then | `result`, `over_limit`, or `infeasible`: reason, detail |
| anything that raises | `error`: error, message, traceback |
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import psutil

from tuning.config import StudyConfig, TrainConfig
from tuning.data.corpus import Corpus, LabelledTexts, open_corpus
from tuning.documents import structure, unstructure
from tuning.errors import SpaceBug, TuningError

Message = dict[str, Any]
Splits = tuple[LabelledTexts, LabelledTexts]  # what a worker trains and validates on


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
    """Send one message as JSON."""
    line.send_bytes(json.dumps(message).encode())


def receive(line: Line) -> Message:
    """Wait for one message.

    Raises:
        EOFError: the other side is gone.
    """
    message: Message = json.loads(line.recv_bytes())
    return message


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

    def answer(self, message: Message) -> Message:
        try:
            if message["kind"] == "declare":
                return self._declare(message)
            return self._train(message)
        except (EOFError, ConnectionError):
            raise
        except SpaceBug as bug:
            return {
                "kind": "error",
                "error": "SpaceBug",
                "message": str(bug),
                "traceback": bug.traceback,
            }
        except TuningError as error:
            return {
                "kind": "error",
                "error": type(error).__name__,
                "message": str(error),
                "traceback": "",
            }
        # Whatever else raises is a bug: it is carried to the coordinator, which stops the study and
        # shows it.
        except Exception as error:  # noqa: BLE001
            return {
                "kind": "error",
                "error": "bug",
                "message": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }

    def _declare(self, message: Message) -> Message:
        from tuning.spaces.loading import declare
        from tuning.training.fit import try_fit

        space = declare(Path(message["path"]), n_classes=message["n_classes"], try_fit=try_fit)
        return {"kind": "space", "space": space.to_dict()}

    def _train(self, message: Message) -> Message:
        from tuning.training import callback, fit

        idle_seconds, self.idle_seconds = self.idle_seconds, 0.0
        train, validation = self._open(message["corpus"])

        def on_epoch(epoch: callback.Epoch) -> callback.Answer:
            send(self._line, {"kind": "epoch", **dataclasses.asdict(epoch)})
            answer: callback.Answer = receive(self._line)["go"]
            return answer

        try:
            _, result = fit.fit(
                self._load(message["space_path"]),
                message["values"],
                train=train,
                validation=validation,
                n_classes=message["n_classes"],
                config=structure(message["train"], TrainConfig),
                seed=message["seed"],
                metric=message["metric"],
                known=tuple(message["known"]),
                on_epoch=on_epoch,
                checkpoint=Path(message["checkpoint"]) if message.get("checkpoint") else None,
                resume=bool(message.get("resume")),
                idle_seconds=idle_seconds,
                limits=message.get("limits"),
                measure_latency=bool(message.get("measure_latency")),
            )
        except callback.OverLimit as error:
            return {"kind": "over_limit", **dataclasses.asdict(error.result)}
        except callback.Infeasible as error:
            return {"kind": "infeasible", "reason": error.reason, "detail": str(error)}
        return {"kind": "result", **dataclasses.asdict(result)}

    def _open(self, folder: str) -> Splits:
        if folder not in self._splits:
            self._splits = {folder: self._splits_of(folder)}
        return self._splits[folder]

    def _load(self, path: str) -> Any:
        from tuning.spaces.loading import load_hypermodel

        if path not in self._hypermodels:
            self._hypermodels[path] = load_hypermodel(Path(path))
        return self._hypermodels[path]


def training_message(
    config: StudyConfig, *, space_path: Path, corpus: Corpus, known: Sequence[str]
) -> Message:
    """What every training of a study has in common: a "train" message but for values, seed and
    checkpoint.
    """
    return {
        "kind": "train",
        "space_path": str(space_path),
        "corpus": str(corpus.folder.absolute()),
        "n_classes": len(corpus.card.class_names),
        "train": unstructure(config.train),
        "metric": config.metric,
        "known": list(known),
    }


def raise_error(message: Mapping[str, Any]) -> None:
    """Raise, in the coordinator, the error that a worker sent.

    Raises:
        TuningError: always, of the class that the message names; a bug outside a space's code is a
            `SpaceBug` too, because the only code of a trial that is not this program's is the
            space's.
    """
    import tuning.errors

    if message["error"] in ("SpaceBug", "bug"):
        raise SpaceBug(message["message"], traceback=message["traceback"])
    raise getattr(tuning.errors, message["error"])(message["message"])
