"""A fake model with a simple rule, and real servers: in a thread for it, and as a process."""

import contextlib
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from tests.paths import ROOT
from tuning.inference.manifest import Manifest
from tuning.inputs.contract import ModelInput
from tuning.serving import app
from tuning.targets.target import Array

MANIFEST = Manifest(
    study="s",
    created="2026-01-01T00:00:00+00:00",
    class_names=["<b>bad</b>", "good"],
    input=ModelInput(vocab_size=30, sequence_length=8, truncating="pre"),
    forms={},
    files={},
)
HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def fake(texts: Sequence[str]) -> Array:
    """Return class probabilities: the class is good or bad if the text contains that word."""
    good = np.array(
        [0.5 + 0.3 * ("good" in text.lower()) - 0.4 * ("bad" in text.lower()) for text in texts]
    )
    return np.stack([1 - good, good], axis=1)


@contextlib.contextmanager
def served(application: Any) -> Iterator[str]:
    """Yield the address of a real server that runs in a thread."""
    with app.listen("127.0.0.1", free_port()) as listening:
        server = app.server(application)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(
    export: Path, *, errors: int | IO[str] = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m tuning serve` with a real model. The last line of its output says that the
    server listens. `errors` gets its standard error.
    """
    command = [sys.executable, "-m", "tuning", "serve", "--export", str(export)]
    with subprocess.Popen(
        [*command, "--port", str(free_port())],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def address_of(started: subprocess.Popen[str]) -> str:
    """Return the address that a server prints."""
    assert started.stdout
    output = ""
    for line in started.stdout:
        output += line
        url_match = re.search(r"http://\S+", line)
        if url_match:
            return url_match[0]
    raise AssertionError(output)
