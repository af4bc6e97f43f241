"""Functions that write a study to trackers, during a search or at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tuning.commands import typed
from tuning.display.console import warn
from tuning.display.logs import logging_to
from tuning.errors import ArgumentError, TrackerError
from tuning.results import StudyDir
from tuning.trackers.targets import Target, parse_targets

if TYPE_CHECKING:
    from tuning.inputs.corpus import Corpus
    from tuning.search.progress import Progressed
    from tuning.search.session import Session
    from tuning.search.tune import Outcome, TuneHooks
    from tuning.spaces.loading import SearchSpace
    from tuning.study.handle import StudyHandle

# Maximum time for which the end of a search waits for the trackers.
FINISH_SECONDS = 30


@contextlib.contextmanager
def following(
    trackers: Iterable[str], folder: StudyDir
) -> Iterator[Callable[[TuneHooks], TuneHooks]]:
    """Give a function that adds trackers to the hooks of a search, and wait for the trackers at the
    end. A failed tracker is a warning and does not end the search.
    """
    from tuning.trackers.tracker import Follower

    targets = require_trackers(trackers)
    followers: list[Follower] = []

    def fail(target: Target, reason: str) -> None:
        later = typed("track", study=folder.name, log_to=target)
        warn(f"{_sentence(target, reason)} The search loses nothing; {later} writes it later.")

    def follow(hooks: TuneHooks) -> TuneHooks:
        def start(corpus: Corpus, space: SearchSpace) -> None:
            followers.extend(
                Follower(target, folder, on_failure=partial(fail, target)) for target in targets
            )
            hooks.on_start(corpus, space)

        def change(state: Progressed) -> None:
            for follower in followers:
                follower.changed(state.summary)
            hooks.on_change(state)

        def then(session: Session, outcome: Outcome) -> None:
            # No change of the search follows, and a confirmation may take long.
            for follower in followers:
                follower.changed(outcome.summary)
            hooks.then(session, outcome)

        return replace(hooks, on_start=start, on_change=change, then=then)

    try:
        yield follow
    finally:
        for follower in followers:
            follower.close()
        deadline = time.monotonic() + FINISH_SECONDS
        for follower in followers:
            follower.finish(max(deadline - time.monotonic(), 0.0))


def track(trackers: Iterable[str], study: StudyHandle) -> list[Target]:
    targets = require_trackers(trackers)
    if not targets:
        raise ArgumentError("log_to must name a tracker, such as tensorboard:runs; received none.")
    with logging_to(study.folder):
        from tuning.trackers.tracker import write_study

        summary, failed = study.summary, []
        for target in targets:
            try:
                write_study(target, study.folder, [summary])
            except TrackerError as error:
                failed.append(_sentence(target, str(error)))
    if failed:
        raise TrackerError(" ".join(failed))
    return targets


def require_trackers(trackers: Iterable[str]) -> list[Target]:
    if isinstance(trackers, str):
        raise ArgumentError(
            'log_to must be a list of trackers, such as ["tensorboard:runs"]; received a text.'
        )
    return parse_targets(trackers)


def _sentence(target: Target, reason: str) -> str:
    return f"{target} could not be written: {reason.rstrip('.')}."
