"""The subscribers of a search, and the writing of a study to trackers at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tuning.commands import repeated
from tuning.display.console import print_texts, warn
from tuning.display.logs import logging_to
from tuning.errors import ArgumentError, TrackerError
from tuning.results import StudyDir
from tuning.trackers.targets import Target, parse_targets

if TYPE_CHECKING:
    from tuning.search.events import Subscriber
    from tuning.study.handle import StudyHandle

# Maximum time for which the end of a search waits for the trackers. Nothing is lost after it,
# because a repeated call writes the rest from the storage.
FINISH_SECONDS = 30


@contextlib.contextmanager
def watching(
    folder: StudyDir, *, metric: str, log_to: Iterable[str] = ()
) -> Iterator[Sequence[Subscriber]]:
    """Give the subscribers of a search or a confirmation, and wait for the trackers at the end. A
    failed tracker is a warning and does not end the search.
    """
    from tuning.display.running import Display
    from tuning.report.dashboard import annotate
    from tuning.search.events import log
    from tuning.trackers.tracker import Follower

    def fail(target: Target, reason: str) -> None:
        warn(f"{_sentence(target, reason)} The search loses nothing; {repeated()} writes it later.")

    targets = require_trackers(log_to)
    with logging_to(folder):
        trackers = [Follower(each, folder, on_failure=partial(fail, each)) for each in targets]
        try:
            with Display(folder.name, metric=metric) as display:
                # The log comes first: an exception of a later subscriber ends the search.
                yield [log, *trackers, display, annotate]
        finally:
            # The queues of all trackers are closed first, so that their threads write what is left
            # at the same time.
            for tracker in trackers:
                tracker.close()
            deadline = time.monotonic() + FINISH_SECONDS
            for tracker in trackers:
                tracker.finish(max(deadline - time.monotonic(), 0.0))


def track(trackers: Iterable[str], study: StudyHandle) -> None:
    targets = require_trackers(trackers)
    with logging_to(study.folder):
        from tuning.trackers.tracker import write_study

        summary, failed = study.summary, []
        for target in targets:
            try:
                write_study(target, study.folder, [summary])
                print_texts(f"{study.name} is written to {target}")
            except TrackerError as error:
                failed.append(_sentence(target, str(error)))
    if failed:
        raise TrackerError(" ".join(failed))


def require_trackers(trackers: Iterable[str]) -> list[Target]:
    if isinstance(trackers, str):
        raise ArgumentError(
            'log_to must be a list of trackers, such as ["tensorboard:runs"]; received a text.'
        )
    targets = [*trackers]
    if wrong := [target for target in targets if not isinstance(target, str)]:
        raise ArgumentError(
            f"log_to must be texts, such as tensorboard:runs; received {wrong[0]!r}."
        )
    return parse_targets(targets)


def _sentence(target: Target, reason: str) -> str:
    return f"{target} could not be written: {reason.rstrip('.')}."
