"""The coordinator's side of the processes that write a study to trackers."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from tuning.documents import structure, unstructure
from tuning.processes import child_environment
from tuning.trackers.process import Report, Request

logger = logging.getLogger(__name__)

# Minimum time between two lines about changes to a process.
NEWS_SECONDS = 1.0
# Maximum time for which the end of a command waits for the processes.
FINISH_SECONDS, INTERRUPTED_SECONDS = 60, 3


class Follower:
    """A process that writes a study to one tracker. Only the method `finish` waits for the tracker.

    Args:
        on_failure: called once, with the reason of the tracker's first failure.
        program: arguments of Python that start the process.
    """

    def __init__(
        self,
        request: Request,
        *,
        on_failure: Callable[[str], None],
        program: Sequence[str] = ("-m", "tuning.trackers.process"),
    ) -> None:
        self._target, self._on_failure = request.target, on_failure
        self._reports: list[Report] = []
        self._has_failed = False
        self._reported_at = float("-inf")
        self._process = subprocess.Popen(
            [sys.executable, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(**request.target.environment),
        )
        self._readers = [
            (self._process.stdout, _read_in_thread(self._process.stdout, self._take)),
            (self._process.stderr, _read_in_thread(self._process.stderr, self._log)),
        ]
        self._send(json.dumps(unstructure(request)))
        assert self._process.stdin  # for mypy: it is a pipe
        # A process that does not read its input must not block the search.
        os.set_blocking(self._process.stdin.fileno(), False)

    def changed(self) -> None:
        """Report a change of the study to the process, at most once in `NEWS_SECONDS`."""
        if time.monotonic() - self._reported_at >= NEWS_SECONDS:
            self.report()

    def report(self) -> None:
        """Report a change of the study to the process."""
        self._reported_at = time.monotonic()
        self._send("changed")

    def close(self) -> None:
        """End the input of the process: the study will not change any more."""
        assert self._process.stdin  # for mypy: it is a pipe
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def finish(self, seconds: float | None) -> str | None:
        """Wait until the process has written the last changes, and return the reason of a failure;
        None after a success.

        Args:
            seconds: maximum time to wait, after which the process is killed. None: no limit.
        """
        self.close()
        is_late = False
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            is_late = True
        finally:
            self._process.kill()
            self._process.wait()
        for pipe, reader in self._readers:
            reader.join(timeout=1)
            if pipe and not reader.is_alive():  # A process of the package may still hold the pipe.
                pipe.close()
        last = self._reports[-1] if self._reports else None
        if last is not None and last.is_last:
            return last.failure
        status = self._process.returncode
        reason = "the last writing took too long" if is_late else f"its process ended ({status})"
        self._fail(reason)
        return reason

    def _send(self, line: str) -> None:
        assert self._process.stdin  # for mypy: it is a pipe
        # An error means that the pipe is full, and contains a line already, or that the process has
        # ended.
        with contextlib.suppress(OSError):
            os.write(self._process.stdin.fileno(), f"{line}\n".encode())

    def _take(self, line: str) -> None:
        report = structure(json.loads(line), Report)
        self._reports = [report]
        if report.failure:
            logger.warning("%s: %s", self._target, report.failure)
            self._fail(report.failure)

    def _log(self, line: str) -> None:
        if line.strip():
            logger.info("%s: %s", self._target, self._target.hide(line))

    def _fail(self, reason: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._on_failure(reason)


def _read_in_thread(pipe: IO[bytes] | None, take: Callable[[str], None]) -> threading.Thread:
    def read() -> None:
        for line in pipe or ():
            take(line.decode(errors="replace").rstrip("\n"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
