"""The process that writes one study to one tracker, so that no tracker can delay or end a search.

The process reads a request and then a line for each change from standard input, and writes messages
to standard output. The end of the input is the end of the search, also if the coordinator was
killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from tuning.documents import structure, unstructure
from tuning.errors import TrackerError
from tuning.results import ResultsDir, StudyDir
from tuning.trackers.contents import fingerprint
from tuning.trackers.targets import Target
from tuning.trackers.tracker import StudyWriting

# Minimum time between two writings: a study of short epochs changes several times a second.
PAUSE_SECONDS = 2.0
# Time between a failure of the tracker and the next attempt.
RETRY_SECONDS = 60.0
# Maximum time to wait for another process that writes the same study to the same tracker, beside
# the time that the last writing after a killed search may take.
LOCK_SECONDS = 10.0
# Niceness of the process beside a search: the workers need the cores.
NICENESS = 5


@dataclass(frozen=True, kw_only=True)
class Request:
    """The study and the tracker of a process.

    Args:
        last_seconds: maximum time of the last writing, after the input has ended; 0: no limit.
    """

    results: str
    study: str
    storage_url: str
    kind: str
    place: str
    last_seconds: int = 0

    @property
    def target(self) -> Target:
        return Target(self.kind, self.place)

    @property
    def folder(self) -> StudyDir:
        return ResultsDir(Path(self.results)).study(self.study)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A message to the coordinator: the reason of a failure, or None after a success. `is_last`
    marks the last message.
    """

    failure: str | None
    is_last: bool


class Changes:
    """The lines of the input, read in a thread, which calls `at_end` after the last line."""

    def __init__(self, lines: IO[str], *, at_end: Callable[[], object] = lambda: None) -> None:
        self._lines, self._changed, self._at_end = lines, threading.Event(), at_end
        self._is_over = False
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self) -> bool:
        """Wait for a change or the end of the search; return whether the search has ended."""
        self._changed.wait()
        self._changed.clear()
        return self._is_over

    def rest(self, seconds: float) -> None:
        """Wait for some time, or until the end of the search."""
        deadline = time.monotonic() + seconds
        while not self._is_over and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def _read(self) -> None:
        for _ in self._lines:
            self._changed.set()
        self._at_end()
        self._is_over = True
        self._changed.set()


def follow(
    open_writing: Callable[[], StudyWriting], changes: Changes, report: Callable[[Report], None]
) -> None:
    """Write a study after its changes until the end of the search.

    A tracker that fails is opened again after `RETRY_SECONDS`. At the end of a search there is no
    new attempt within this time.
    """
    writing: StudyWriting | None = None
    failure, failed_at, is_last = None, float("-inf"), False
    while not is_last:
        is_last = changes.wait()
        if not is_last or time.monotonic() - failed_at >= RETRY_SECONDS:
            failure = None
            try:
                writing = writing or open_writing()
                writing.write(is_last=is_last)
                if is_last:
                    writing.close()
            # Packages of trackers raise many kinds of exceptions, and none may end a search.
            except Exception as error:  # noqa: BLE001
                failure, failed_at = reason_of(error), time.monotonic()
                _abandon(writing)
                writing = None
        report(Report(failure=failure, is_last=is_last))
        if not is_last:
            changes.rest(RETRY_SECONDS if failure else PAUSE_SECONDS)


def reason_of(error: BaseException) -> str:
    """Return the first line of an exception's message. For a failed connection, the message is that
    of the failed connection among the exception's causes.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | socket.gaierror) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def _abandon(writing: StudyWriting | None) -> None:
    """Close a writing that has failed, and ignore further exceptions."""
    if writing is not None:
        with contextlib.suppress(Exception):
            writing.close()


@contextlib.contextmanager
def _alone(request: Request) -> Iterator[None]:
    """Keep other processes from writing the same study to the same tracker."""
    folder, target = request.folder, request.target
    path = folder.tracker_lock_path(fingerprint([target.kind, target.place])[:16])
    path.parent.mkdir(exist_ok=True)
    try:
        with FileLock(path, timeout=LOCK_SECONDS + request.last_seconds):
            yield
    except Timeout as error:
        raise TrackerError(
            "another process, such as a search with log_to, writes this study to the tracker;"
            " wait for the end of that process"
        ) from error


def _opening(request: Request, stack: contextlib.ExitStack) -> Callable[[], StudyWriting]:
    """Return a function that opens the tracker and the study."""
    held: list[bool] = []

    def opened() -> StudyWriting:
        if not held:
            stack.enter_context(_alone(request))
            held.append(True)
        return StudyWriting(
            ResultsDir(Path(request.results)),
            request.folder,
            storage_url=request.storage_url,
            tracker=request.target.open(),
        )

    return opened


def main() -> None:
    """Write a study to a tracker, in the new process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # The coordinator ends the search first.
        signal.signal(number, signal.SIG_IGN)
    # Output of the packages must not be mixed with the messages, and processes of the packages must
    # not inherit the pipe of the messages.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = structure(json.loads(sys.stdin.readline()), Request)
    if request.last_seconds:
        os.nice(NICENESS)

    def report(message: Report) -> None:
        failure = message.failure and request.target.hide(message.failure)
        with contextlib.suppress(BrokenPipeError):  # The coordinator may have ended.
            messages.write(json.dumps(unstructure(replace(message, failure=failure))) + "\n")
            messages.flush()

    changes = Changes(sys.stdin, at_end=lambda: signal.alarm(request.last_seconds))
    with contextlib.ExitStack() as stack:
        follow(_opening(request, stack), changes, report)


if __name__ == "__main__":
    main()
