"""Child processes that import this package: their environment, and functions that run in one.

A function's process reads the arguments from standard input, and writes lines of JSON: messages,
then the result or a `TuningError`. The output of libraries goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from tuning import errors

ROOT = Path(__file__).resolve().parents[1]
# Many examples choose another backend in their first lines, and some shells set one for all
# programs. The models of this program need TensorFlow.
BACKEND = {"KERAS_BACKEND": "tensorflow"}


def python_path() -> str:
    """Return the value of `PYTHONPATH` with which a child process can import this package from
    every working directory.
    """
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process with `PYTHONPATH`, TensorFlow as the backend of Keras,
    and further variables.
    """
    return {**os.environ, **BACKEND, "PYTHONPATH": python_path(), **variables}


class ChildFailed(Exception):
    """Raised for a process that ended without a result; the message is the reason."""


def run_child(
    function: Callable[..., Any],
    *arguments: Any,
    timeout: float | None = None,
    on_message: Callable[[Any], None] = lambda message: None,
    **variables: str,
) -> Any:
    """Return the result of a function of this package, which runs in a process of its own.

    Arguments, messages and results are values of JSON. `on_message` gets what the function sends
    (`send`). A `TuningError` of the function is raised here. `timeout`: maximum duration in
    seconds; `variables`: environment variables.
    """
    command = [sys.executable, "-m", __name__, function.__module__, function.__name__]
    env = child_environment(TF_CPP_MIN_LOG_LEVEL="3", **variables)
    # A Timer accepts no longer time than TIMEOUT_MAX.
    until = time.monotonic() + (threading.TIMEOUT_MAX if timeout is None else timeout)
    with (
        tempfile.TemporaryFile() as log,  # Progress bars would fill a pipe.
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env
        ) as process,
    ):
        timer = threading.Timer(until - time.monotonic(), process.kill)
        timer.daemon = True
        timer.start()
        try:
            answer = _answer(process, arguments, on_message)
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        log.seek(0)
        output = log.read()
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["text"])
    if time.monotonic() >= until:
        raise ChildFailed(f"its process was ended after {timeout:g} seconds")
    if process.returncode != 0:
        raise ChildFailed(why_it_ended(process.returncode, output))
    return answer["result"]


def _answer(
    process: subprocess.Popen[str], arguments: Sequence[Any], on_message: Callable[[Any], None]
) -> dict[str, Any]:
    assert process.stdin  # for mypy: both are pipes
    assert process.stdout
    # The process may end before it reads its arguments.
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        json.dump(arguments, stdin)
    answer: dict[str, Any] = {}
    for line in process.stdout:
        if not line.endswith("\n"):  # The process was ended while it wrote.
            break
        answer = json.loads(line)
        if "message" in answer:
            on_message(answer.pop("message"))
    return answer


def why_it_ended(status: int, output: bytes) -> str:
    """Return why a process failed: the last line of its standard error, or its signal or status."""
    if status < 0:
        return f"its process ended with signal {-status}, perhaps because memory ran out"
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with exit status {status}"


_channel: IO[str] | None = None


def send(message: Any) -> None:
    """Send a message from a function in a process of `run_child`; elsewhere do nothing."""
    if _channel:
        print(json.dumps({"message": message}), file=_channel, flush=True)


def _end_with(parent: int) -> None:
    """End this process after its parent, which ends it itself unless a signal kills the parent."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def run(module: str, name: str) -> None:
    """Run the process of `run_child`."""
    global _channel  # noqa: PLW0603
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    # What libraries print to standard output would be no JSON, so it goes to standard error.
    _channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        function = getattr(importlib.import_module(module), name)
        answer = {"result": function(*json.load(sys.stdin))}
    except errors.TuningError as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    print(json.dumps(answer), file=_channel, flush=True)


if __name__ == "__main__":
    # Functions import the module by its name, so `send` must find the channel there.
    importlib.import_module("tuning.processes").run(*sys.argv[1:])
