"""Which workers are beyond a limit of time or memory, or do nothing any more."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import psutil

from tuning.errors import ArgumentError
from tuning.hardware import memory_limit
from tuning.outcomes import FailureReason
from tuning.workers.pool import AnyWorker
from tuning.workers.worker import Measured

# Default of --silent-seconds: time without a message and without computing.
SILENT_SECONDS = 60.0
# Seconds of computing that count as a sign of life.
BUSY_SECONDS = 0.5
# Interval at which the workers are measured.
CHECK_SECONDS = 0.5
# Smallest memory limit that is set by default. A worker holds 500 MB, most of it shared.
MIN_MEMORY_MB = 2048.0
# Share of the machine's memory that all workers together may hold by default.
MEMORY_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class TrialLimits:
    """Limits of one trial: wall seconds, and resident memory of its worker in MB. None: no limit.

    A worker that has neither sent a message nor computed for `silent_seconds` is replaced.
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
    """Return the limits with a memory limit: `MEMORY_SHARE` of the machine's memory divided by
    `n_workers`, and at least `MIN_MEMORY_MB`, where the limits have none.
    """
    if limits.memory_mb is not None:
        return limits
    total = min(psutil.virtual_memory().total, memory_limit() or math.inf)
    share = MEMORY_SHARE * total / n_workers / 2**20
    return replace(limits, memory_mb=max(share, MIN_MEMORY_MB))


@dataclass
class _Watched:
    started: float
    last_sign: float  # of life: a message, or computing
    cpu_seconds: float


class WorkerLimits:
    """The time and memory of the workers that have a trial now."""

    def __init__(self, limits: TrialLimits) -> None:
        self._limits = limits
        self._watched: dict[AnyWorker, _Watched] = {}
        self._checked = 0.0

    def begin(self, worker: AnyWorker) -> None:
        """Count a worker's time from now on."""
        now = time.monotonic()
        self._watched[worker] = _Watched(now, now, 0.0)

    def received(self, worker: AnyWorker) -> None:
        """Count a message as a sign of life."""
        if worker in self._watched:
            self._watched[worker].last_sign = time.monotonic()

    def end(self, worker: AnyWorker) -> None:
        """Stop counting: the worker has no trial any more."""
        self._watched.pop(worker, None)

    def exceeded(self) -> list[tuple[AnyWorker, FailureReason, str]]:
        """Return the workers that are beyond a limit, each with its reason and a clause for the
        message.

        Workers are measured every `CHECK_SECONDS` at the most; in between the list is empty. Dead
        workers are found by the pool.
        """
        now = time.monotonic()
        if now - self._checked < CHECK_SECONDS:
            return []
        self._checked = now
        reasons = {
            worker: self._reason(watched, worker.measure())
            for worker, watched in self._watched.items()
        }
        return [(worker, *reason) for worker, reason in reasons.items() if reason]

    def _reason(
        self, watched: _Watched, measured: Measured | None
    ) -> tuple[FailureReason, str] | None:
        limits, now = self._limits, time.monotonic()
        memory_mb = measured.memory_mb if measured else 0.0
        if measured and measured.cpu_seconds - watched.cpu_seconds >= BUSY_SECONDS:
            watched.last_sign, watched.cpu_seconds = now, measured.cpu_seconds
        if limits.seconds is not None and now - watched.started > limits.seconds:
            detail = f"it ran for more than {limits.seconds:g} s (--trial-seconds)"
            return FailureReason.TOO_LONG, detail
        if limits.memory_mb is not None and memory_mb > limits.memory_mb:
            detail = (
                f"its worker held {memory_mb:,.0f} MB, {limits.memory_mb:,.0f} allowed"
                " (--trial-memory-mb)"
            )
            return FailureReason.OUT_OF_MEMORY, detail
        if now - watched.last_sign > limits.silent_seconds:
            return FailureReason.SILENT, f"its worker did nothing for {limits.silent_seconds:g} s"
        return None
