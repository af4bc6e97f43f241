"""A worker as a Ray actor: what stands on its node, around the same `worker.serve` that a process
at a pipe runs.

Everything that comes from the coordinator's disk arrives as data: the search space's source, a
paused trial's checkpoint, and the token ids, which are arrays in the node's shared memory. Ray
pickles what it carries; it is given strings, bytes and arrays alone.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from tuning import __version__
from tuning.data.corpus import LabelledTexts, TokenizedTexts
from tuning.workers.messages import Declare, ErrorRaised, Train, TrainingEnded, decode, encode
from tuning.workers.worker import Splits, WorkerSettings, measured, prepare, serve

SPLITS = ("train", "validation")  # what a worker reads of a corpus
Arrays = Mapping[str, npt.NDArray[Any]]


def arrays_of(split: LabelledTexts, name: str) -> dict[str, npt.NDArray[Any]]:
    """A split as plain arrays, for the object store; ids leave their memory map."""
    found = {"ids": split.texts.ids, "offsets": split.texts.offsets, "labels": split.labels}
    return {f"{name}.{key}": np.asarray(array) for key, array in found.items()}


def splits_of(arrays: Arrays) -> Splits:
    """What `arrays_of` took apart."""
    train, validation = (
        LabelledTexts(
            TokenizedTexts(arrays[f"{name}.ids"], arrays[f"{name}.offsets"]),
            arrays[f"{name}.labels"],
        )
        for name in SPLITS
    )
    return train, validation


class Actor:
    """A training process on a node. Ray calls each method in a thread of its concurrency group, so
    that none waits for a training.
    """

    def __init__(self, number: int, n_threads: int, memory_mb: float | None) -> None:
        self._inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[tuple[str, bytes | None]] = queue.SimpleQueue()
        self._folder = Path(tempfile.mkdtemp(prefix="tuning-"))
        self._checkpoint = self._folder / "checkpoint.npz"
        self._paths: dict[str, str] = {}  # a space's file here → the coordinator's
        self._arrays: Arrays = {}
        # where Ray sends its output is where it stays: a file of the node
        prepare(
            WorkerSettings(
                number=number, n_threads=n_threads, log_path=os.devnull, memory_mb=memory_mb
            )
        )

    def introduce(self) -> tuple[int, str]:
        """The process, and the version of this package on its node; answered when TensorFlow is
        loaded.
        """
        return os.getpid(), __version__

    def work(self) -> None:
        """Answer messages until the process ends."""
        serve(self, splits_of=lambda folder: splits_of(self._arrays))

    def tell(
        self, text: str, source: bytes | None, checkpoint: bytes | None, arrays: Arrays | None
    ) -> None:
        """Take a message, with what it names of the coordinator's disk."""
        message = decode(text.encode())
        if isinstance(message, Declare) and source is not None:
            message = replace(message, path=self._place(message.path, source))
        elif isinstance(message, Train) and source is not None:
            job = message.job
            if job.checkpoint:
                job = replace(job, checkpoint=str(self._checkpoint))
            space_path = self._place(message.space_path, source)
            message = replace(message, space_path=space_path, job=job)
        if checkpoint is not None:
            self._checkpoint.write_bytes(checkpoint)
        if arrays is not None:
            self._arrays = arrays
        self._inbox.put(encode(message))

    def hear(self) -> tuple[str, bytes | None]:
        """Wait for the worker's next message; with it, the checkpoint of a trial that
        has paused.
        """
        return self._outbox.get()

    def measure(self) -> tuple[float, float]:
        """Seconds of computing, and resident memory in MB."""
        taken = measured(psutil.Process())
        return taken.cpu_seconds, taken.memory_mb

    def close(self) -> None:
        """Leave no file behind and end, in the middle of a training too; Ray's own way takes 5 s
        and more.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def recv_bytes(self) -> bytes:
        """The worker's side of `tell`."""
        return self._inbox.get()

    def send_bytes(self, data: bytes) -> None:
        """The worker's side of `hear`. What an error says of the space's file, it says of the
        coordinator's.
        """
        message = decode(data)
        if isinstance(message, ErrorRaised):
            for here, there in self._paths.items():
                message = replace(
                    message,
                    message=message.message.replace(here, there),
                    traceback=message.traceback.replace(here, there),
                )
        is_paused = isinstance(message, TrainingEnded) and message.result.paused
        checkpoint = self._checkpoint.read_bytes() if is_paused else None
        self._checkpoint.unlink(
            missing_ok=True
        )  # after its first epoch a trial that went on has it loaded
        self._outbox.put((encode(message).decode(), checkpoint))

    def _place(self, path: str, source: bytes) -> str:
        """A file of this name and content in a folder of its own, which only this user may open: it
        is code.
        """
        here = self._folder / hashlib.sha256(source).hexdigest()[:16] / Path(path).name
        if str(here) not in self._paths:
            here.parent.mkdir(exist_ok=True)
            here.write_bytes(source)
        self._paths[str(here)] = path
        return str(here)
