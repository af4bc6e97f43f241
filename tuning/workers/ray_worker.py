"""A worker as a Ray actor, on its node. The actor runs the same `worker.serve` as a worker process.

The actor can't read the coordinator's disk. It receives the source of the search space, the
checkpoint of a paused trial, and the token ids, which are arrays in the node's shared memory. Ray
pickles arguments and results, which consist of settings, strings, bytes, numbers and arrays.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil

from tuning import __version__
from tuning.spaces.files import split_place
from tuning.workers.messages import Declare, ErrorRaised, Train, TrainingEnded, decode, encode
from tuning.workers.worker import Splits, WorkerSettings, prepare, serve, usage_of


class Actor:
    """The process of a worker on a node.

    Ray calls each method in a thread of the method's concurrency group. `put`, `get` and `measure`
    therefore do not wait for a training, which runs in the main thread.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[tuple[str, bytes | None]] = queue.SimpleQueue()
        self._folder = Path(tempfile.mkdtemp(prefix="tuning-"))
        self._checkpoint = self._folder / "checkpoint.npz"
        # Paths of search spaces: from the file on this node to the file on the coordinator's disk.
        self._paths: dict[str, str] = {}
        self._splits: Splits | None = None
        self._n_threads = settings.n_threads
        prepare(settings)

    def describe(self) -> tuple[int, str]:
        """Ray calls this method after the constructor has loaded TensorFlow."""
        return os.getpid(), __version__

    def run(self) -> None:
        serve(self, n_threads=self._n_threads, splits_of=self._received)

    def _received(self, folder: str) -> Splits:
        assert self._splits is not None  # They come with the first training.
        return self._splits

    def put(
        self, text: str, source: bytes | None, checkpoint: bytes | None, splits: Splits | None
    ) -> None:
        message = decode(text.encode())
        if isinstance(message, Declare) and source is not None:
            message = replace(message, path=self._write_source(message.path, source))
        elif isinstance(message, Train):
            job = message.job
            # A training has either a checkpoint or the file of its predictions.
            if job.checkpoint:
                job = replace(job, checkpoint=str(self._checkpoint))
            elif job.predictions:
                job = replace(job, predictions=str(self._checkpoint))
            message = replace(message, job=job)
            if source is not None:
                space_path = self._write_source(message.space_path, source)
                message = replace(message, space_path=space_path)
        if checkpoint is not None:
            self._checkpoint.write_bytes(checkpoint)
        if splits is not None:
            self._splits = splits
        self._inbox.put(encode(message))

    def get(self) -> tuple[str, bytes | None]:
        """A paused trial has its checkpoint, and a repeat the file of its predictions."""
        return self._outbox.get()

    def measure(self) -> tuple[float, float]:
        usage = usage_of(psutil.Process())
        return usage.cpu_seconds, usage.memory_mb

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)  # Ray's own end of an actor takes 5 s or more.

    def recv_bytes(self) -> bytes:
        """Return the next message from `put`; `serve` calls this method."""
        return self._inbox.get()

    def send_bytes(self, data: bytes) -> None:
        message = decode(data)
        if isinstance(message, ErrorRaised):
            # The user knows the files on the coordinator's disk only.
            for node_path, coordinator_path in self._paths.items():
                message = replace(
                    message,
                    message=message.message.replace(node_path, coordinator_path),
                    traceback=message.traceback.replace(node_path, coordinator_path),
                )
        has_file = isinstance(message, TrainingEnded) and self._checkpoint.exists()
        checkpoint = self._checkpoint.read_bytes() if has_file else None
        # A resumed training has loaded its checkpoint before it sends its first message.
        self._checkpoint.unlink(missing_ok=True)
        self._outbox.put((encode(message).decode(), checkpoint))

    def _write_source(self, path: str, source: bytes) -> str:
        # The file is code. Only this user can read or change the folder: `mkdtemp` has created it.
        node_place = self._folder / hashlib.sha256(source).hexdigest()[:16] / Path(path).name
        node_path = split_place(node_place)[0]
        if str(node_path) not in self._paths:
            node_path.parent.mkdir(exist_ok=True)
            node_path.write_bytes(source)
        self._paths[str(node_path)] = str(split_place(path)[0])
        return str(node_place)
