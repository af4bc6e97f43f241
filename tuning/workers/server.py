"""The start of the fork server, from which workers are forked.

A command starts the server before it imports other modules, because the server needs seconds to
import Keras (in `tuning.workers.forkserver`). Therefore this module imports little.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import platform
import tempfile
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

from tuning.atomic_io import translated
from tuning.processes import BACKEND, python_path

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@functools.cache
def _output() -> tuple[int, int]:
    """Return the descriptors that write and read the server's output."""
    # The server starts before the study has a folder, so a temporary file takes the output.
    with tempfile.NamedTemporaryFile() as file:
        return os.open(file.name, os.O_WRONLY | os.O_APPEND), os.open(file.name, os.O_RDONLY)


def start_server() -> None:
    """Start the fork server unless it is running. The caller does not wait for its imports."""
    multiprocessing.set_forkserver_preload(["tuning.workers.forkserver"])
    with worker_environment(), _stderr_to(_output()[0]):
        forkserver.ensure_running()


def copy_server_output(log_path: Path) -> None:
    """Append what the server has written since the last call."""
    with translated(log_path), log_path.open("ab") as log:
        while text := os.read(_output()[1], 2**16):
            log.write(text)


@contextlib.contextmanager
def worker_environment() -> Iterator[None]:
    """Set the environment variables that workers inherit."""
    # With PYTHONPATH, this package can be imported from every working directory.
    variables = {"PYTHONPATH": python_path(), **BACKEND}
    # On x86, TensorFlow uses oneDNN by default only on processors with AVX512_VNNI or newer
    # instructions. A training of `cnn` took a quarter of the time with oneDNN, with AVX2 alone too.
    if platform.machine() in ("x86_64", "AMD64"):
        variables[ONEDNN] = os.environ.get(ONEDNN, "1")
    old = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def stderr_to(path: Path) -> Iterator[None]:
    """A child that is started in the context inherits the file for TensorFlow's start-up lines."""
    with translated(path):
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        with _stderr_to(log):
            yield
    finally:
        os.close(log)


@contextlib.contextmanager
def _stderr_to(descriptor: int) -> Iterator[None]:
    saved = os.dup(2)
    try:
        os.dup2(descriptor, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
