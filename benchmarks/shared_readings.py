"""The counters of a coordinator that shares a study, and the use of time between two readings of
them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tuning.errors import ArgumentError
from tuning.study.coordinators import Coordinators


class TimedCoordinators(Coordinators):
    """Coordinators that count the wall seconds of waiting for the lock of the trial slots and of
    holding it, and the CPU seconds of this process while it holds the lock.
    """

    waited_seconds = held_seconds = held_cpu_seconds = 0.0

    @contextlib.contextmanager
    def slot_lock(self) -> Iterator[None]:
        started = time.perf_counter()
        with super().slot_lock():
            received, cpu_received = time.perf_counter(), time.process_time()
            self.waited_seconds += received - started
            try:
                yield
            finally:
                self.held_seconds += time.perf_counter() - received
                self.held_cpu_seconds += time.process_time() - cpu_received


@dataclass(frozen=True)
class Reading:
    """A coordinator's counters at one moment."""

    moment: float
    cpu: float
    n_trials: int
    idle: float
    waited: float
    held: float
    held_cpu: float


def between(first: Reading, last: Reading, *, n_workers: int) -> dict[str, float]:
    """Return what a coordinator used between two readings, and the share of its workers' time in
    which they waited for the coordinator.

    Raises:
        ArgumentError: no trial ended between the readings.
    """
    n_trials, seconds = last.n_trials - first.n_trials, last.moment - first.moment
    if n_trials == 0:
        raise ArgumentError(
            "--trial-seconds must be so long that the coordinators can feed their workers on this"
            " machine; no training ended within the measured rounds."
        )
    return {
        "n_trials": n_trials,
        "seconds": round(seconds, 3),
        "cpu_seconds_a_trial": (last.cpu - first.cpu) / n_trials,
        "cpu_share": (last.cpu - first.cpu) / seconds,
        "lock_seconds": (last.held - first.held) / n_trials,
        "lock_cpu_seconds": (last.held_cpu - first.held_cpu) / n_trials,
        "lock_wait_seconds": (last.waited - first.waited) / n_trials,
        "idle_share": (last.idle - first.idle) / (n_workers * seconds),
    }


def summary_of(coordinators: list[dict[str, float]]) -> dict[str, float]:
    """Return the means over the coordinators, weighted by their trials. The mean of the idle share
    is weighted by the workers, whose number is equal.
    """
    n_trials = sum(coordinator["n_trials"] for coordinator in coordinators)
    names = ("cpu_seconds_a_trial", "lock_seconds", "lock_cpu_seconds", "lock_wait_seconds")
    means = {
        name: sum(coordinator[name] * coordinator["n_trials"] for coordinator in coordinators)
        / n_trials
        for name in names
    }
    return {
        "n_trials": n_trials,
        **means,
        "idle_share": sum(coordinator["idle_share"] for coordinator in coordinators)
        / len(coordinators),
    }
