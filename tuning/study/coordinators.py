"""Who works on a study: one coordinator a results folder, as many as there are machines.

Each beats in the study's attributes. One that has not for its `dead_seconds`, by the clock of
whoever listens, is taken for dead, and what it had at work is made again by another. No two clocks
are compared.

A trial holds one of the study's `n_trials` tickets while it runs and when it is finished; one that
fails gives it back. Tickets are taken under a lock of the storage (`asking`), so that their number
is exact over all machines.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tuning.errors import ArgumentError, StudyError
from tuning.results import StudyDir, read_json, write_json
from tuning.study.storage import locked

DEAD_SECONDS = 60.0
BEATS = 12  # in that time: a beat is one small write
FIRST = "0"  # the coordinator that created the study
COORDINATOR = "coordinator"  # a trial's attribute: whose it is
N_TRIALS = "n_trials"  # a study's attribute: what the newest call asked for
_PREFIX = "coordinator "


@dataclass
class _Heard:
    said: dict[str, Any]
    at: float  # by this process's own clock


class Coordinators:
    """This process among those that work on a study.

    Args:
        own: this folder's name among them (`identify`).
        dead_seconds: after which the others may take this one for dead.
    """

    def __init__(
        self,
        study: optuna.Study,
        own: str = FIRST,
        *,
        n_workers: int = 1,
        dead_seconds: float = DEAD_SECONDS,
    ) -> None:
        if not dead_seconds > 0:
            raise ArgumentError(f"--dead-seconds must be more than 0; received {dead_seconds:g}.")
        self.own = own
        self._study, self._dead_seconds = study, dead_seconds
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        self._about: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": since,
            "n_workers": n_workers,
        }
        self._heard: dict[str, _Heard] = {}
        self._due = 0.0
        self._beat = ""  # the last that this process told

    @property
    def stream(self) -> int:
        """The number of this coordinator's stream of draws; 0 is that of a study on one machine."""
        return int(self.own, 16)

    @property
    def n_workers(self) -> int:
        """The workers of all that are alive."""
        return int(self._about["n_workers"]) + sum(
            int(heard.said["n_workers"]) for heard in self._heard.values() if not _is_gone(heard)
        )

    @property
    def are_several(self) -> bool:
        """Whether others have worked on this study."""
        return bool(self._heard)

    def asking(self) -> AbstractContextManager[None]:
        """Hold the lock of the study's tickets."""
        return locked(self._study._storage, self._study.study_name)

    def listen(self) -> bool:
        """Beat, and hear the others, where it is time to; returns whether it was.

        Raises:
            StudyError: another process beats under this one's name.
        """
        if time.monotonic() < self._due:
            return False
        self.hear()
        self._say(left=False)
        self._due = time.monotonic() + self._dead_seconds / BEATS
        return True

    def hear(self) -> None:
        """What the others have told by now; to be called before one is judged.

        Raises:
            StudyError: another process beats under this one's name.
        """
        told = said_by_all(self._study)
        now = time.monotonic()
        if self._beat and told.get(self.own, {}).get("beat") != self._beat:
            raise StudyError(
                "A results folder must be the only one of its name in a study; another process"
                f" works on {self._study.study_name!r} from a copy of this folder. Remove"
                " study.json and coordinator.json from the copy, and let it --join."
            )
        for name, said in told.items():
            if name != self.own and (name not in self._heard or self._heard[name].said != said):
                self._heard[name] = _Heard(said, now)

    def leave(self) -> None:
        """Tell the others that this one has ended."""
        self._say(left=True)

    def is_own(self, trial: FrozenTrial) -> bool:
        """Whether a trial is this coordinator's, or none's because who asked for it did not live to
        say so (seen under the lock).
        """
        return bool(trial.user_attrs.get(COORDINATOR, self.own) == self.own)

    def is_gone(self, trial: FrozenTrial) -> bool:
        """Whether a trial's coordinator has left, or is taken for dead."""
        heard = self._heard.get(trial.user_attrs.get(COORDINATOR, self.own))
        return heard is not None and _is_gone(heard)

    def _say(self, *, left: bool) -> None:
        at = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        self._beat = secrets.token_hex(4)
        said = {
            **self._about,
            "dead_seconds": self._dead_seconds,
            "left": left,
            "at": at,
            "beat": self._beat,
        }
        self._study.set_user_attr(_PREFIX + self.own, said)


def said_by_all(study: optuna.Study) -> dict[str, dict[str, Any]]:
    """The last beat of each coordinator that a study has had."""
    attributes = study._storage.get_study_user_attrs(study._study_id)
    return {
        name.removeprefix(_PREFIX): said
        for name, said in attributes.items()
        if name.startswith(_PREFIX)
    }


def announce(study: optuna.Study, n_trials: int) -> None:
    """Tell all coordinators how many trials a study is to have: what the newest call that names a
    number asked for.
    """
    if study.user_attrs.get(N_TRIALS) != n_trials:
        study.set_user_attr(N_TRIALS, n_trials)


def asked_for(study: optuna.Study) -> int | None:
    """How many trials a study is to have; None where nobody has said so yet."""
    n_trials: int | None = study.user_attrs.get(N_TRIALS)
    return n_trials


def is_at_work(trial: FrozenTrial) -> bool:
    """Whether a trial is being trained: neither ended, nor paused, nor waiting for another of its
    configuration.
    """
    return (
        trial.state == TrialState.RUNNING
        and not trial.user_attrs.get("paused")
        and "waits_for" not in trial.user_attrs
    )


def identify(folder: StudyDir, *, joins: bool = False) -> str:
    """The name of a study's folder among its coordinators, which it keeps: `FIRST`, or one drawn at
    random where it joins.
    """
    if not folder.coordinator_path.exists():
        if not joins:
            return FIRST
        write_json(folder.coordinator_path, {"coordinator": secrets.token_hex(4)})
    return str(read_json(folder.coordinator_path)["coordinator"])


def _is_gone(heard: _Heard) -> bool:
    return bool(heard.said["left"]) or time.monotonic() - heard.at > float(
        heard.said["dead_seconds"]
    )
