"""The interface of trackers, and the writing of a study to one, at once or during a search."""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Protocol

from filelock import FileLock, Timeout

from tuning.errors import TrackerError
from tuning.results import StudyDir
from tuning.search.events import Event, Outcome, Progressed, SearchEnded, SearchStarted
from tuning.study.study import read_record, recorded_space
from tuning.study.summary import Summary
from tuning.text import first_line
from tuning.trackers.contents import TrackedStudy, TrackedTrial, tracked_study, tracked_trial
from tuning.trackers.targets import Target

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """A place to which a study is written, opened with the place and the study. Each method may
    raise any exception of its package.

    A trial or a study that the place has is not written twice.
    """

    def write_trial(self, trial: TrackedTrial) -> None:
        """Write a finished trial."""

    def write_end(self, study: TrackedStudy) -> None:
        """Write the study without its trials, after the last trial."""


def open_tracker(target: Target, study: TrackedStudy) -> Tracker:
    if target.kind == "mlflow":
        from tuning.trackers.mlflow_tracker import MlflowTracker

        return MlflowTracker(target.place, study)
    if target.kind == "tensorboard":
        from tuning.trackers.tensorboard_tracker import TensorBoardTracker

        return TensorBoardTracker(target.place, study)
    from tuning.trackers.wandb_tracker import WandbTracker

    return WandbTracker(target.place, study)


def write_study(target: Target, folder: StudyDir, summaries: Iterable[Summary]) -> None:
    """Write each trial once it is finished, and the study after the last summary."""
    digest = hashlib.sha256(f"{target.kind}:{target.place}".encode()).hexdigest()[:16]
    # Two calls at once would both find a trial missing, and write it twice.
    try:
        with FileLock(folder.tracker_lock_path(digest), timeout=0):
            _write(target, folder, summaries)
    except Timeout as error:
        raise TrackerError(
            "another call, such as a search with log_to, writes this study to the tracker; wait"
            " for its end"
        ) from error
    # Packages of trackers raise many kinds of exceptions, and none may end a search.
    except Exception as error:
        reason = target.hide(reason_of(error))
        logger.warning("%s: %s", target, reason)
        raise TrackerError(reason) from error


def _write(target: Target, folder: StudyDir, summaries: Iterable[Summary]) -> None:
    record, space = read_record(folder), recorded_space(folder)
    tracker: Tracker | None = None
    written: set[int] = set()
    for summary in summaries:
        if tracker is None:
            tracker = open_tracker(target, tracked_study(record, summary, folder))
        for frozen in summary.trials:
            if frozen.state.is_finished() and frozen.number not in written:
                trial = tracked_trial(frozen, space, folder, metric=summary.metric)
                if trial is not None:
                    tracker.write_trial(trial)
                written.add(frozen.number)
    if tracker is not None:
        tracker.write_end(tracked_study(record, summary, folder))


def reason_of(error: Exception) -> str:
    """Return the first line of an exception's message."""
    # The packages wrap the exception of a failed connection in exceptions with long messages.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionError | TimeoutError | socket.gaierror):
            return cause.strerror or str(cause) or type(cause).__name__
        cause = cause.__cause__ or cause.__context__
    return first_line(error).rstrip(".")


class Follower:
    """A subscriber that writes a study to a tracker in a thread during a search, which never waits
    for the tracker. `on_failure` is called at most once, with the reason of a failure.
    """

    def __init__(
        self, target: Target, folder: StudyDir, *, on_failure: Callable[[str], None]
    ) -> None:
        self._target, self._folder, self._on_failure = target, folder, on_failure
        self._newest: Summary | None = None
        self._changes: SimpleQueue[bool] = SimpleQueue()  # False: no change will follow.
        self._is_late = False
        # The thread of a tracker that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __call__(self, event: Event) -> None:
        match event:
            case SearchStarted():
                self._thread.start()
            case Progressed(summary=summary) | SearchEnded(outcome=Outcome(summary=summary)):
                self.changed(summary)

    def changed(self, summary: Summary) -> None:
        self._newest = summary
        # A study may change several times a second, and the thread reads the newest summary.
        if self._changes.empty():
            self._changes.put(True)

    def close(self) -> None:
        self._changes.put(True)
        self._changes.put(False)

    def finish(self, seconds: float) -> None:
        if self._thread.ident is None:  # The search has not started.
            return
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._is_late = True
            self._on_failure("the last writing took too long")

    def _run(self) -> None:
        summaries = (self._newest for _ in iter(self._changes.get, False) if self._newest)
        try:
            write_study(self._target, self._folder, summaries)
        except TrackerError as error:
            if not self._is_late:
                self._on_failure(str(error))
