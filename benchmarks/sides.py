"""The sides of a comparison, one after the other, each between two calibrations of the machine.

A side counts as disturbed if the machine was throttled or busy: before or after the side
(`benchmarks.calibration`), or because other programs used the CPU meanwhile. A disturbed side is
measured again, a limited number of times. If all measurements of a side are disturbed, the least
disturbed measurement is kept and marked in the record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import psutil

from benchmarks.calibration import Calibration, calibrate
from benchmarks.processes import cpu_seconds
from benchmarks.settings import Settings
from tuning.hardware import available_cores

# A side is disturbed above these values.
MAX_WALL_RATIO = 1.15  # wall seconds over CPU seconds of a calibration
MAX_SPEED_RATIO = 1.15  # ratio of the cores' speeds in a calibration and in the reference
MAX_OTHERS_SHARE = 0.1  # share of all cores' time that other programs used during the side
N_REFERENCES = 3  # the fastest of these calibrations is the reference
# Maximum number of calibrations before a side, with pauses, until the machine is calm.
N_CALM = 4
PAUSE_SECONDS = 15.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Use:
    """CPU seconds at one moment: of all programs on this process's cores, and of this program."""

    moment: float
    all_seconds: float
    own_seconds: float


def read_use() -> Use:
    """Return the CPU seconds so far. The seconds of other programs include the time of the kernel's
    interrupts, and exclude time that the host has stolen.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # macOS has none
    cores = sorted(os.sched_getaffinity(0)) if has_affinity else range(os.cpu_count() or 1)
    times = psutil.cpu_times(percpu=True)
    used = sum(
        sum(
            getattr(times[core], name, 0.0) for name in ("user", "nice", "system", "irq", "softirq")
        )
        for core in cores
    )
    return Use(time.perf_counter(), used, cpu_seconds())


def others_share(before: Use, after: Use, *, n_cores: int) -> float:
    """Return the share of all cores' time that other programs used between two moments."""
    others = (after.all_seconds - before.all_seconds) - (after.own_seconds - before.own_seconds)
    return max(others, 0.0) / ((after.moment - before.moment) * n_cores)


@dataclass(frozen=True)
class Attempt:
    """One measurement of a side, with the state of the machine."""

    before: Calibration
    after: Calibration
    others_share: float

    def disturbance(self, reference: Calibration) -> float:
        """Return the largest excess in units of its limit: more than 1 means disturbed."""
        both = (self.before, self.after)
        ratio = max(calibration.wall_ratio for calibration in both) - 1
        speeds = [calibration.speed(reference) for calibration in both]
        change = max(max(speed, 1 / speed) for speed in speeds) - 1
        return max(
            ratio / (MAX_WALL_RATIO - 1),
            change / (MAX_SPEED_RATIO - 1),
            self.others_share / MAX_OTHERS_SHARE,
        )

    def describe(self, reference: Calibration) -> dict[str, Any]:
        """Return the attempt as the record contains it."""
        calibrations = {
            name: {
                "wall_ratio": round(calibration.wall_ratio, 3),
                "speed": round(calibration.speed(reference), 3),
            }
            for name, calibration in (("before", self.before), ("after", self.after))
        }
        return {
            **calibrations,
            "others_share": round(self.others_share, 3),
            "disturbance": round(self.disturbance(reference), 3),
            "disturbed": self.disturbance(reference) > 1,
        }


def wait() -> None:
    """Give the machine time to become calm."""
    time.sleep(PAUSE_SECONDS)


@dataclass
class Sides:
    """A comparison that measures its sides and keeps the attempts of each side.

    Args:
        repeats: maximum number of times that a disturbed side is measured again.
        calibrate: runs a calibration.
        read_use: reads the CPU seconds so far.
        pause: waits before another calibration of a machine that is not calm.
    """

    repeats: int
    calibrate: Callable[[], Calibration]
    show: Callable[[str], None]
    n_cores: int = field(default_factory=available_cores)
    read_use: Callable[[], Use] = read_use
    pause: Callable[[], None] = wait
    attempts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        calibrations = [self.calibrate() for _ in range(N_REFERENCES)]
        self.reference = min(calibrations, key=lambda calibration: calibration.cpu_seconds)

    def measure(self, name: str, run: Callable[[], _T]) -> _T:
        """Measure a side until it is not disturbed, or `repeats` more times; return its result."""
        tried: list[tuple[float, _T]] = []
        self.attempts[name] = []
        while True:
            before, started = self._calm(), self.read_use()
            result = run()
            share = others_share(started, self.read_use(), n_cores=self.n_cores)
            attempt = Attempt(before, self.calibrate(), share)
            tried.append((attempt.disturbance(self.reference), result))
            self.attempts[name].append(attempt.describe(self.reference))
            if tried[-1][0] <= 1 or len(tried) > self.repeats:
                break
            self.show(f"  measured again, because {reason_of(self.attempts[name][-1])}")
        least = min(range(len(tried)), key=lambda number: tried[number][0])
        for number, described in enumerate(self.attempts[name]):
            described["kept"] = number == least
        return tried[least][1]

    def _calm(self) -> Calibration:
        """Return a calibration. While the machine is not calm, it is repeated after a pause."""
        for _ in range(N_CALM - 1):
            calibration = self.calibrate()
            if Attempt(calibration, calibration, 0.0).disturbance(self.reference) <= 1:
                return calibration
            self.pause()
        return self.calibrate()

    def record(self) -> dict[str, Any]:
        """Return the limits, the reference and the attempts of all sides, for the record."""
        return {
            "limits": {
                "wall_ratio": MAX_WALL_RATIO,
                "speed_ratio": MAX_SPEED_RATIO,
                "others_share": MAX_OTHERS_SHARE,
            },
            "repeats": self.repeats,
            "reference": asdict(self.reference),
            "sides": self.attempts,
        }


def sides_of(settings: Settings, *, show: Callable[[str], None]) -> Sides:
    """Return the sides of one comparison with the settings of a call. A tiny call does not wait."""
    n_cores = available_cores()
    run = partial(calibrate, n_cores, share=settings.size(1.0, tiny=0.02))
    if settings.tiny:
        return Sides(settings.repeats, run, show, n_cores=n_cores, pause=lambda: None)
    return Sides(settings.repeats, run, show, n_cores=n_cores)


def reason_of(attempt: Mapping[str, Any]) -> str:
    """Return the reasons why an attempt is disturbed, in words."""
    reasons = []
    for when in ("before", "after"):
        calibration = attempt[when]
        if calibration["wall_ratio"] > MAX_WALL_RATIO:
            reasons.append(f"wall time was {calibration['wall_ratio']:.2f} × CPU time {when} it")
        if max(calibration["speed"], 1 / calibration["speed"]) > MAX_SPEED_RATIO:
            reasons.append(
                f"the cores had {calibration['speed']:.2f} × their first speed {when} it"
            )
    if attempt["others_share"] > MAX_OTHERS_SHARE:
        reasons.append(f"other programs used {attempt['others_share']:.0%} of the CPU")
    return " and ".join(reasons)
