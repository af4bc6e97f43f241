"""The limits of a trial's time and memory, and the workers that exceed them or are inactive."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import psutil

from tuning.errors import ArgumentError
from tuning.hardware import memory_limit
from tuning.outcomes import FailureReason
from tuning.workers.pool import AnyWorker
from tuning.workers.worker import Usage

# Default of --silent-seconds: maximum time without a message and without a computation.
SILENT_SECONDS = 60.0
# CPU seconds since the last recorded activity that count as new activity.
BUSY_SECONDS = 0.5
# Minimum interval between two measurements of the workers.
CHECK_SECONDS = 0.5
# A longer time without a measurement is one in which the coordinator was stopped or blocked.
MAX_UNSEEN_SECONDS = 5.0
# Minimum of the default memory limit. A worker that has just started uses
# 500 MB, most of which is shared with the other workers.
MIN_MEMORY_MB = 2048.0
# Share of the machine's memory that all workers together may use by default.
MEMORY_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class TrialLimits:
    """The limits of one trial. A worker that exceeds one of them is replaced.

    Args:
        seconds: maximum wall time. None: no limit.
        memory_mb: maximum resident memory of the worker in MB. None: no limit.
        silent_seconds: maximum time for which a worker neither sends a message nor computes.

    Raises:
        ArgumentError: a limit is not more than 0.
    """

    seconds: float | None = None
    memory_mb: float | None = None
    silent_seconds: float = SILENT_SECONDS

    def __post_init__(self) -> None:
        for name, value in (
            ("--trial-seconds", self.seconds),
            ("--trial-memory-mb", self.memory_mb),
            ("--silent-seconds", self.silent_seconds),
        ):
            if value is not None and not value > 0:
                raise ArgumentError(f"{name} must be more than 0; received {value:g}.")


def with_memory(limits: TrialLimits, *, n_workers: int) -> TrialLimits:
    """Return limits that have a memory limit. Its default is `MEMORY_SHARE` of the machine's memory
    divided by `n_workers`, and at least `MIN_MEMORY_MB`.
    """
    if limits.memory_mb is not None:
        return limits
    total = min(psutil.virtual_memory().total, memory_limit() or math.inf)
    share_mb = MEMORY_SHARE * total / n_workers / 2**20
    return replace(limits, memory_mb=max(share_mb, MIN_MEMORY_MB))


@dataclass
class _Activity:
    """A worker's activity in its trial. Times are those of `time.monotonic`."""

    started: float
    last_active: float  # Time of the last message or of the last computation.
    cpu_seconds: float


class WorkerLimits:
    """The time and memory of the workers that have a trial now."""

    def __init__(self, limits: TrialLimits) -> None:
        self._limits = limits
        self._watched: dict[AnyWorker, _Activity] = {}
        self._measured_at = time.monotonic()

    def begin(self, worker: AnyWorker) -> None:
        """Start to measure a worker that was given a trial."""
        now = time.monotonic()
        self._watched[worker] = _Activity(now, now, 0.0)

    def received(self, worker: AnyWorker) -> None:
        """Record a message of a worker as activity."""
        if worker in self._watched:
            self._watched[worker].last_active = time.monotonic()

    def end(self, worker: AnyWorker) -> None:
        """Stop measuring a worker whose trial has ended."""
        self._watched.pop(worker, None)

    def exceeded(self) -> list[tuple[AnyWorker, FailureReason, str]]:
        """Return the workers that exceed a limit, each with the reason and the text of the failure.

        A call within `CHECK_SECONDS` of the previous measurement returns an empty list. Workers
        that have ended are reported by `AnyPool.wait`. Time in which the coordinator itself was
        stopped, by Ctrl-Z or a paused container, is no time of the workers.
        """
        now = time.monotonic()
        if now - self._measured_at < CHECK_SECONDS:
            return []
        unseen, self._measured_at = now - self._measured_at, now
        if unseen > MAX_UNSEEN_SECONDS:
            for activity in self._watched.values():
                activity.started = min(activity.started + unseen, now)
                activity.last_active = now
        reasons = {
            worker: self._reason(activity, worker.measure())
            for worker, activity in self._watched.items()
        }
        return [(worker, *reason) for worker, reason in reasons.items() if reason]

    def _reason(self, activity: _Activity, usage: Usage | None) -> tuple[FailureReason, str] | None:
        """Record a worker's activity, and return the reason and the text of the limit that it
        exceeds, if any.
        """
        limits, now = self._limits, time.monotonic()
        memory_mb = usage.memory_mb if usage else 0.0
        if usage and usage.cpu_seconds - activity.cpu_seconds >= BUSY_SECONDS:
            activity.last_active, activity.cpu_seconds = now, usage.cpu_seconds
        if limits.seconds is not None and now - activity.started > limits.seconds:
            detail = f"it ran for more than {limits.seconds:g} s (--trial-seconds)"
            return FailureReason.TOO_LONG, detail
        if limits.memory_mb is not None and memory_mb > limits.memory_mb:
            detail = (
                f"its worker used {memory_mb:,.0f} MB of memory, {limits.memory_mb:,.0f} MB allowed"
                " (--trial-memory-mb)"
            )
            return FailureReason.OUT_OF_MEMORY, detail
        if now - activity.last_active > limits.silent_seconds:
            detail = f"its worker was inactive for {limits.silent_seconds:g} s (--silent-seconds)"
            return FailureReason.SILENT, detail
        return None
