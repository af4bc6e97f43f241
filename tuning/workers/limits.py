"""Which workers are over a limit of time or memory, or do nothing any more."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import psutil

from tuning.errors import ArgumentError
from tuning.hardware import memory_limit
from tuning.workers.pool import AnyWorker
from tuning.workers.worker import Measured

SILENT_SECONDS = 60.0  # without a message, and without a second of computing
BUSY_SECONDS = 0.5  # of computing, that count as a sign of life
LOOK_SECONDS = 0.5
LEAST_MEMORY_MB = 2048.0  # a worker holds 500, most of it shared with the others
MEMORY_SHARE = 0.9  # of the machine, for all workers together


@dataclass(frozen=True, kw_only=True)
class TrialLimits:
    """What one trial may take of its worker: wall seconds, and resident memory in MB. None: no
    limit.
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
    """The limits, with one of memory: an equal share of 90 % of the machine's where none is given,
    but enough to train in.
    """
    if limits.memory_mb is not None:
        return limits
    total = min(psutil.virtual_memory().total, memory_limit() or math.inf)
    share = MEMORY_SHARE * total / n_workers / 2**20
    return replace(limits, memory_mb=max(share, LEAST_MEMORY_MB))


@dataclass
class _Watched:
    started: float
    alive: float  # when it last gave a sign of life
    cpu_seconds: float


class Watch:
    """The workers that are at a trial now."""

    def __init__(self, limits: TrialLimits) -> None:
        self._limits = limits
        self._watched: dict[AnyWorker, _Watched] = {}
        self._looked = 0.0

    def begin(self, worker: AnyWorker) -> None:
        """A worker has been given a trial."""
        now = time.monotonic()
        self._watched[worker] = _Watched(now, now, 0.0)

    def heard(self, worker: AnyWorker) -> None:
        """A worker has sent a message."""
        if worker in self._watched:
            self._watched[worker].alive = time.monotonic()

    def end(self, worker: AnyWorker) -> None:
        """A worker is at its trial no more."""
        self._watched.pop(worker, None)

    def look(self) -> list[tuple[AnyWorker, str, str]]:
        """The workers to be replaced, each with its reason and a sentence, at most twice a second;
        the dead are the pool's to find.
        """
        found: list[tuple[AnyWorker, str, str]] = []
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return found
        self._looked = time.monotonic()
        for worker, watched in self._watched.items():
            why = self._why(watched, worker.measure())
            if why:
                found.append((worker, *why))
        return found

    def _why(self, watched: _Watched, taken: Measured | None) -> tuple[str, str] | None:
        limits, now = self._limits, time.monotonic()
        memory_mb = taken.memory_mb if taken else 0.0
        if taken and taken.cpu_seconds - watched.cpu_seconds >= BUSY_SECONDS:
            watched.alive, watched.cpu_seconds = now, taken.cpu_seconds
        if limits.seconds is not None and now - watched.started > limits.seconds:
            return "too long", f"it ran for more than {limits.seconds:g} s (--trial-seconds)"
        if limits.memory_mb is not None and memory_mb > limits.memory_mb:
            return (
                "out of memory",
                (
                    f"its worker held {memory_mb:,.0f} MB, {limits.memory_mb:,.0f} allowed"
                    " (--trial-memory-mb)"
                ),
            )
        if now - watched.alive > limits.silent_seconds:
            return "silent", f"its worker did nothing for {limits.silent_seconds:g} s"
        return None
