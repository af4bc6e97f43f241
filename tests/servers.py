"""A fake model with a simple rule, and a real server for it."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tuning.inference.manifest import Manifest, ModelInput
from tuning.metrics import Array
from tuning.serving import app

MANIFEST = Manifest(
    study="s",
    export_number=3,
    created="2026-01-01T00:00:00+00:00",
    class_names=["<b>bad</b>", "good"],
    input=ModelInput(vocab_size=30, sequence_length=8, truncating="pre"),
    forms={},
    left_out={},
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
