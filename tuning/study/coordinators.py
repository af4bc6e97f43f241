"""The coordinators that work on a study: one for each results folder, over all machines.

Each coordinator writes heartbeats into the study's attributes. A coordinator whose heartbeat has
not changed for its `dead_seconds` counts as dead, and its running trials are queued again. Each
reader measures this time by its own clock, so the clocks of two machines are never compared.

A trial takes one of the study's `n_trials` slots while it is RUNNING and after it has ended; a
trial that fails gives its slot back. Slots are taken under a lock of the storage (`slot_lock`), so
that their number is exact over all machines.

Optuna's own heartbeat is not used; the docstring of `optuna_internals` gives the reasons.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial

from tuning import documents
from tuning.config import require_positive
from tuning.errors import StudyError
from tuning.results import StudyDir, safe_name
from tuning.spaces.files import short_name
from tuning.study.optuna_internals import storage_of
from tuning.study.storage import storage_lock
from tuning.study.trials import attributes_of, trial_seconds

logger = logging.getLogger(__name__)

# More than `storage.LOCK_SECONDS`, in which a coordinator may write no heartbeat, and far above the
# pauses of a busy disk: the trials of a coordinator that counts as dead are repeated.
DEAD_SECONDS = 60.0
HEARTBEATS = 12  # number of heartbeats within `dead_seconds`; each is one small write
MAX_WAIT_SECONDS = 30.0  # maximum time that a start waits for another process of its name
FIRST_COORDINATOR = "0"  # the coordinator that created the study
N_TRIALS = "n_trials"  # attribute of a study: the last requested number of trials, or `AUTO`
TOTAL_SECONDS = "total_seconds"  # attribute of a study: the requested duration of all its searches
SEARCHED_SECONDS = "searched_seconds"  # attribute of a study: the requested duration that is over
_PREFIX = "coordinator "  # prefix of the study's attributes that contain heartbeats


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What a coordinator writes into the study's attributes. `beat`: random id of the heartbeat."""

    host: str
    pid: int
    since: str
    n_workers: int
    dead_seconds: float
    left: bool = False
    at: str = ""
    beat: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether the process has left, or was killed on this machine."""
        is_here = self.host == socket.gethostname()
        return self.left or (is_here and not psutil.pid_exists(self.pid))


@dataclass(frozen=True)
class Identity:
    coordinator: str


@dataclass(frozen=True)
class _Received:
    """A heartbeat of another coordinator, with the time at which this process first read it."""

    heartbeat: Heartbeat
    seconds: float

    @property
    def is_dead(self) -> bool:
        age = time.monotonic() - self.seconds
        return self.heartbeat.left or age > self.heartbeat.dead_seconds


class Coordinators:
    """This process among the coordinators of a study. `own`: its name (`identify`)."""

    def __init__(
        self,
        study: optuna.Study,
        own: str = FIRST_COORDINATOR,
        *,
        n_workers: int = 1,
        dead_seconds: float = DEAD_SECONDS,
    ) -> None:
        require_positive({"dead_seconds": dead_seconds})
        self.own = own
        self._study = study
        # The last heartbeat that this process wrote; without an id before the first write.
        self._heartbeat = Heartbeat(
            host=socket.gethostname(),
            pid=os.getpid(),
            since=_now(),
            n_workers=n_workers,
            dead_seconds=dead_seconds,
        )
        self._received: dict[str, _Received] = {}
        self._due = 0.0

    @property
    def seed_stream(self) -> int:
        """0 for the coordinator that created the study."""
        return int(self.own, 16)

    @property
    def n_workers(self) -> int:
        return self._heartbeat.n_workers + sum(
            received.heartbeat.n_workers
            for received in self._received.values()
            if not received.is_dead
        )

    @property
    def has_others(self) -> bool:
        """True also after the others have left."""
        return bool(self._received)

    def slot_lock(self) -> AbstractContextManager[None]:
        return storage_lock(storage_of(self._study), self._study.study_name)

    def exchange_heartbeats(self) -> bool:
        """Return False, without an exchange, until the next heartbeat of this process is due."""
        if time.monotonic() < self._due:
            return False
        if not self._heartbeat.beat:
            self._require_unused_name()
        self.read_heartbeats()
        self._write_heartbeat(left=False)
        self._due = time.monotonic() + self._heartbeat.dead_seconds / HEARTBEATS
        return True

    def read_heartbeats(self) -> None:
        """Read the newest heartbeats of the others. Call this method before `is_abandoned` decides
        on a trial: this process may have been stopped itself, and its last read may be old.
        """
        heartbeats = heartbeats_of(self._study)
        now = time.monotonic()
        if self._heartbeat.beat and heartbeats.get(self.own) != self._heartbeat:
            raise self._copy_error()
        for name, heartbeat in heartbeats.items():
            if name == self.own:
                continue
            last = self._received.get(name)
            if last is None or last.heartbeat != heartbeat:
                self._received[name] = _Received(heartbeat, now)

    def leave(self) -> None:
        """Write a last heartbeat, unless another process writes heartbeats under this name."""
        if self._heartbeat.beat and heartbeats_of(self._study).get(self.own) == self._heartbeat:
            self._write_heartbeat(left=True)

    def _require_unused_name(self) -> None:
        """Wait for another heartbeat of the last process of this name, if it may be alive."""
        last, own = heartbeats_of(self._study).get(self.own), self._heartbeat
        if last is None or last.has_ended or (last.host, last.pid) == (own.host, own.pid):
            return
        # In one and a half intervals, a living process writes another heartbeat.
        seconds = min(1.5 * last.dead_seconds / HEARTBEATS, MAX_WAIT_SECONDS)
        logger.info("waiting %.0f s for process %d of %s", seconds, last.pid, last.host)
        time.sleep(seconds)
        newest = heartbeats_of(self._study).get(self.own, last)
        if newest != last and not newest.left:
            raise self._copy_error()

    def _copy_error(self) -> StudyError:
        name = self._study.study_name
        return StudyError(
            "A results folder must be the only one of its name in a study; another process works on"
            f" {name!r} from a copy of this folder. Remove study.json and coordinator.json from the"
            " copy, and join it (join)."
        )

    def is_own(self, trial: FrozenTrial) -> bool:
        """True also for a trial without the name of a coordinator. If the caller holds the
        `slot_lock`, the coordinator of such a trial was killed before it wrote its name.
        """
        return attributes_of(trial).get("coordinator", self.own) == self.own

    def is_abandoned(self, trial: FrozenTrial) -> bool:
        received = self._received.get(attributes_of(trial).get("coordinator", self.own))
        return received is not None and received.is_dead

    def _write_heartbeat(self, *, left: bool) -> None:
        self._heartbeat = replace(self._heartbeat, left=left, at=_now(), beat=secrets.token_hex(4))
        self._study.set_user_attr(_PREFIX + self.own, documents.unstructure(self._heartbeat))


def _now() -> str:
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")


def heartbeats_of(study: optuna.Study) -> dict[str, Heartbeat]:
    try:
        return {
            name.removeprefix(_PREFIX): documents.structure(values, Heartbeat)
            for name, values in study.user_attrs.items()
            if name.startswith(_PREFIX)
        }
    except ValueError as error:
        raise StudyError(
            f"The heartbeats of study {study.study_name!r} in the storage must be as this program"
            f" wrote them; {error}. Use the same version on all machines."
        ) from error


def has_begun(attributes: Mapping[str, Any], own: str) -> bool:
    return _PREFIX + own in attributes


def set_n_trials(study: optuna.Study, n_trials: int | str) -> None:
    """The number of the last call counts, for all coordinators."""
    if study.user_attrs.get(N_TRIALS) != n_trials:
        study.set_user_attr(N_TRIALS, n_trials)


def requested_n_trials(study: optuna.Study) -> int | str | None:
    n_trials: int | str | None = study.user_attrs.get(N_TRIALS)
    return n_trials


def is_of_comparison(study: optuna.Study) -> bool:
    """Return whether `make compare` has searched the study, which takes a duration. The number of
    trials does not show this: at its end, such a search replaces it by that of its trials.
    """
    return TOTAL_SECONDS in study.user_attrs


def study_name(comparison: str, space: str) -> str:
    return f"{comparison}-{safe_name(short_name(space))}"


def comparison_name(study: str, space: str) -> str:
    """Return the name of the comparison of a study, whose name `study_name` has made."""
    return study.removesuffix(study_name("", space))


def comparison_that_searched(study: optuna.Study, space: str) -> str | None:
    """Return the name of the comparison that has searched the study; None without one."""
    return comparison_name(study.study_name, space) if is_of_comparison(study) else None


def searched_seconds(study: optuna.Study) -> float:
    """Return the duration of a study's searches so far: the requested duration if it is over, else
    the seconds of all trials, divided by the number of workers.
    """
    searched = study.user_attrs.get(SEARCHED_SECONDS)
    if searched is not None and searched == study.user_attrs.get(TOTAL_SECONDS):
        return float(searched)
    seconds = sum(map(trial_seconds, study.get_trials(deepcopy=False)))
    return seconds / max(sum(h.n_workers for h in heartbeats_of(study).values()), 1)


def identify(folder: StudyDir, *, joins: bool = False) -> str:
    """Return the name of a study's folder among the coordinators: `FIRST_COORDINATOR`, or the name
    in `coordinator.json`. A folder that joins the study gets a random name, which the file keeps.
    """
    if not folder.coordinator_path.exists():
        if not joins:
            return FIRST_COORDINATOR
        documents.write(folder.coordinator_path, Identity(secrets.token_hex(4)))
    remedy = "Remove study.json and coordinator.json, and join the study again (join)."
    return documents.read(
        folder.coordinator_path, Identity, error=StudyError, remedy=remedy
    ).coordinator
