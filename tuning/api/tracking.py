"""Functions that write a study to trackers, during a search or at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tuning.commands import typed
from tuning.display.console import warn
from tuning.display.logs import logging_to
from tuning.errors import ArgumentError, TrackerError
from tuning.results import ResultsDir, StudyDir
from tuning.trackers.targets import Target, parse_targets

if TYPE_CHECKING:
    from tuning.search.tune import Outcome, TuneHooks
    from tuning.trackers.follower import Follower
    from tuning.trackers.process import Request


class Tracking:
    """The trackers that follow a search. A failed tracker is a warning and does not end the search.

    Args:
        trackers: values of log_to.

    Raises:
        ArgumentError: a value is not KIND:PLACE with a known kind.
        TrackerError: the package of a tracker is not installed.
    """

    def __init__(
        self, trackers: Iterable[str], folder: StudyDir, root: ResultsDir, *, storage_url: str
    ) -> None:
        self._targets = require_trackers(trackers)
        self._folder, self._root, self._storage_url = folder, root, storage_url
        self._followers: list[Follower] = []
        self._is_whole = False

    def followed(self, run: Callable[..., Outcome]) -> Callable[..., Outcome]:
        """Return a search that reports its changes to the trackers."""

        def search(*, hooks: TuneHooks) -> Outcome:
            return run(hooks=self._hooks(hooks))

        return search if self._targets else run

    def ended(self, is_whole: bool) -> bool:
        """Store whether the search ran to its end, and return that. After an interrupt, the
        trackers get less time.
        """
        self._is_whole = is_whole
        return is_whole

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from tuning.trackers.follower import FINISH_SECONDS, INTERRUPTED_SECONDS

        seconds = FINISH_SECONDS if self._is_whole else INTERRUPTED_SECONDS
        for follower in self._followers:
            follower.close()
        deadline = time.monotonic() + seconds
        for follower in self._followers:
            follower.finish(max(deadline - time.monotonic(), 0.0))

    def _hooks(self, hooks: TuneHooks) -> TuneHooks:
        def start(*arguments: object) -> None:
            self._start()
            hooks.on_start(*arguments)  # type: ignore[arg-type]  # the hook's own arguments

        def change(*arguments: object) -> None:
            for follower in self._followers:
                follower.changed()
            hooks.on_change(*arguments)  # type: ignore[arg-type]

        def then(*arguments: object) -> None:
            # No change of the search follows, and a confirmation may take long.
            for follower in self._followers:
                follower.report()
            hooks.then(*arguments)  # type: ignore[arg-type]

        return replace(hooks, on_start=start, on_change=change, then=then)

    def _start(self) -> None:
        """Start the processes. The study must exist."""
        from tuning.trackers.follower import FINISH_SECONDS, Follower

        for target in self._targets:
            request = _request(target, self._folder, self._root, storage_url=self._storage_url)
            try:
                follower = Follower(
                    replace(request, last_seconds=FINISH_SECONDS),
                    on_failure=partial(self._warn, target),
                )
            except OSError as error:  # The machine has too many processes, or no memory.
                self._warn(target, str(error))
                continue
            self._followers.append(follower)

    def _warn(self, target: Target, reason: str) -> None:
        later = typed("track", study=self._folder.name, log_to=target)
        warn(f"{_sentence(target, reason)} The search loses nothing; {later} writes it later.")


def track(
    trackers: Iterable[str], folder: StudyDir, root: ResultsDir, *, storage_url: str
) -> list[Target]:
    """Write a study to several trackers at the same time, and return the trackers.

    Raises:
        ArgumentError: no tracker is given, or a value is not KIND:PLACE with a known kind.
        TrackerError: a package is missing, or a tracker can't be reached or written. The other
            trackers are written.
        StudyError: the storage does not contain the study.
    """
    from tuning.study.storage import close_study
    from tuning.study.study import load_study
    from tuning.trackers.follower import Follower

    targets = require_trackers(trackers)
    if not targets:
        raise ArgumentError("log_to must name a tracker, such as tensorboard:runs; received none.")
    close_study(load_study(root, folder, storage_url=storage_url))
    with logging_to(folder):
        followers = {
            target: Follower(
                _request(target, folder, root, storage_url=storage_url),
                on_failure=lambda reason: None,
            )
            for target in targets
        }
        for follower in followers.values():
            follower.close()
        reasons = {target: follower.finish(None) for target, follower in followers.items()}
    failed = [_sentence(target, reason) for target, reason in reasons.items() if reason]
    if failed:
        raise TrackerError(" ".join(failed))
    return targets


def track_or_warn(
    trackers: Iterable[str], folder: StudyDir, root: ResultsDir, *, storage_url: str
) -> None:
    """Write a study to trackers, if any are given. A failed tracker is a warning."""
    trackers = [*trackers]
    if trackers:
        try:
            track(trackers, folder, root, storage_url=storage_url)
        except TrackerError as error:
            warn(str(error))


def require_trackers(trackers: Iterable[str]) -> list[Target]:
    """Return the trackers of a call, after a check of their names and packages.

    Raises:
        ArgumentError: a value is not KIND:PLACE with a known kind, or a single text is given.
        TrackerError: the package of a tracker is not installed.
    """
    if isinstance(trackers, str):
        raise ArgumentError(
            'log_to must be a list of trackers, such as ["tensorboard:runs"]; received a text.'
        )
    return parse_targets(trackers)


def _request(target: Target, folder: StudyDir, root: ResultsDir, *, storage_url: str) -> Request:
    from tuning.trackers.process import Request

    return Request(
        results=str(root.path.absolute()),
        study=folder.name,
        storage_url=storage_url,
        kind=target.kind,
        place=target.place,
    )


def _sentence(target: Target, reason: str) -> str:
    return f"{target} could not be written: {reason.rstrip('.')}."
