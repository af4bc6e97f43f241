"""The events of a search and a confirmation, in their order. Each goes to all subscribers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning.confirmation.plan import is_over
from tuning.outcomes import SearchEnd

if TYPE_CHECKING:
    from tuning.confirmation.record import Confirmation
    from tuning.evaluation.linear_reference import LinearReference
    from tuning.search.session import Session
    from tuning.spaces.loading import SearchSpace
    from tuning.study.summary import Summary

logger = logging.getLogger(__name__)


@dataclass
class Interrupt:
    requested: bool = False


@dataclass(frozen=True)
class Outcome:
    summary: Summary
    space: SearchSpace
    ended: SearchEnd
    n_trials: int
    confirmation: Confirmation | None = None
    is_interrupted: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether the user interrupted neither the search nor what follows it."""
        is_confirmed = self.confirmation is None or is_over(self.confirmation)
        return not self.is_interrupted and self.ended != SearchEnd.INTERRUPTED and is_confirmed


@dataclass(frozen=True)
class Event:
    """Something that has happened in a call of `tune` or `confirm`."""


Subscriber = Callable[[Event], None]


@dataclass(frozen=True)
class Step(Event):
    """A step of the preparation or of a confirmation has begun or advanced. `share`: the share of
    the work that is done.
    """

    label: str
    share: float


@dataclass(frozen=True)
class SearchStarted(Event):
    opened: Session


@dataclass(frozen=True)
class LinearModelTrained(Event):
    """The linear model is known, perhaps from an earlier search. It comes once in a search."""

    reference: LinearReference


@dataclass(frozen=True)
class Progressed(Event):
    """The state of a search after a change, and in an idle search every half second.

    Attributes:
        event: a sentence about a trial that has started, advanced or ended; may be empty.
    """

    summary: Summary
    n_trials: int
    elapsed_seconds: float
    seconds_left: float | None
    event: str = ""


@dataclass(frozen=True)
class SearchEnded(Event):
    """The workers of the search still run, and a confirmation may follow."""

    opened: Session
    outcome: Outcome


@dataclass(frozen=True)
class NotConfirmed(Event):
    reason: str


@dataclass(frozen=True)
class ConfirmationStarted(Event):
    confirmation: Confirmation
    n_workers: int


@dataclass(frozen=True)
class RepeatEnded(Event):
    """A training of a confirmation has ended. `event`: a sentence about it."""

    event: str
    confirmation: Confirmation


@dataclass(frozen=True)
class CallEnded(Event):
    """The last event, after an exception of a search too. The study is still open and locked."""

    opened: Session
    ended: SearchEnd | None = None
    confirmation: Confirmation | None = None


def log(event: Event) -> None:
    if isinstance(event, Progressed | RepeatEnded) and event.event:
        logger.info(event.event)
