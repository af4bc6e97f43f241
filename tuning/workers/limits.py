"""The limits of a trial's time and memory, and the workers that exceed them or are inactive."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import psutil

from tuning.config import Limits
from tuning.hardware import memory_limit
from tuning.outcomes import FailureReason
from tuning.workers.pool import AnyWorker
from tuning.workers.worker import Usage

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


def with_memory(limits: Limits, *, n_workers: int) -> Limits:
    """Return limits that have a memory limit. Its default is `MEMORY_SHARE` of the machine's memory
    divided by `n_workers`, and at least `MIN_MEMORY_MB`.
    """
    if limits.trial_memory_mb is not None:
        return limits
    total = min(psutil.virtual_memory().total, memory_limit() or math.inf)
    share_mb = MEMORY_SHARE * total / n_workers / 2**20
    return replace(limits, trial_memory_mb=max(share_mb, MIN_MEMORY_MB))


@dataclass
class _Activity:
    """A worker's activity in its trial. Times are those of `time.monotonic`."""

    started: float
    last_active: float  # Time of the last message or of the last computation.
    cpu_seconds: float


class WorkerLimits:
    """The time and memory of the workers that have a trial now."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._watched: dict[AnyWorker, _Activity] = {}
        self._measured_at = time.monotonic()

    def begin(self, worker: AnyWorker) -> None:
        now = time.monotonic()
        self._watched[worker] = _Activity(now, now, 0.0)

    def received(self, worker: AnyWorker) -> None:
        if worker in self._watched:
            self._watched[worker].last_active = time.monotonic()

    def end(self, worker: AnyWorker) -> None:
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
        if limits.trial_seconds is not None and now - activity.started > limits.trial_seconds:
            detail = f"it ran for more than {limits.trial_seconds:g} s (trial_seconds)"
            return FailureReason.TOO_LONG, detail
        if limits.trial_memory_mb is not None and memory_mb > limits.trial_memory_mb:
            detail = (
                f"its worker used {memory_mb:,.0f} MB of memory; trial_memory_mb is"
                f" {limits.trial_memory_mb:,.0f}"
            )
            return FailureReason.OUT_OF_MEMORY, detail
        if now - activity.last_active > limits.silent_seconds:
            detail = f"its worker was inactive for {limits.silent_seconds:g} s (silent_seconds)"
            return FailureReason.SILENT, detail
        return None
