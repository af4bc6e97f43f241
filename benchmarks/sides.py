"""The sides of a comparison, one after the other, each in a fresh process and between two
calibrations of the machine.

A side is this program, another program, or a group of figures. It counts as disturbed if the
machine was throttled or busy: before or after the side, or because other programs used the CPU
meanwhile. A disturbed side is measured again, a limited number of times. If all measurements of a
side are disturbed, the least disturbed measurement is kept and marked in the record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import psutil
import threadpoolctl

from benchmarks.processes import cpu_seconds, in_fresh_process
from benchmarks.settings import Settings
from tuning.hardware import available_cores

# A side is disturbed above these values.
MAX_WAITING = 0.15
MAX_CHANGE = 0.15
MAX_OTHERS = 0.1
N_REFERENCES = 3  # the fastest of these calibrations is the reference
# Maximum number of calibrations before a side, with pauses, until the machine is calm.
N_CALM = 4
PAUSE_SECONDS = 15.0
# Rows, inner size and columns of a product of a calibration. A product takes a millisecond, so the
# threads hardly wait for the lock of the interpreter.
SGEMM = (512, 512, 256)
N_PRODUCTS = 600


@dataclass(frozen=True)
class Calibration:
    """The seconds of a fixed loop of matrix products on every core at once, as means over the
    cores.

    On a free machine the loop takes as much CPU time as wall time, and always the same CPU time. If
    other programs use the cores, or if the host takes them away, the wall time is longer: a host
    that throttles a virtual machine doubles it, and the machine's own count of stolen time stays 0.
    If the cores are clocked lower or share their caches, the CPU time is longer.
    """

    wall_seconds: float
    cpu_seconds: float


def calibrate(n_products: int) -> Calibration:
    rows, inner, columns = SGEMM
    left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)

    def multiply(_: int) -> tuple[float, float]:
        product = np.empty((rows, columns), np.float32)
        wall, cpu = time.perf_counter(), time.thread_time()
        for _ in range(n_products):
            np.matmul(left, right, out=product)
        return time.perf_counter() - wall, time.thread_time() - cpu

    n_cores = available_cores()
    with threadpoolctl.threadpool_limits(1, "blas"), ThreadPoolExecutor(n_cores) as threads:
        wall, cpu = np.mean(list(threads.map(multiply, range(n_cores))), axis=0)
    return Calibration(float(wall), float(cpu))


@dataclass(frozen=True)
class Use:
    """CPU seconds at one moment: of all programs on this process's cores, and of this program."""

    moment: float
    all_seconds: float
    own_seconds: float


def read_use() -> Use:
    # Time of the kernel's interrupts counts as use, and time that the host has stolen does not.
    has_affinity = hasattr(os, "sched_getaffinity")  # macOS has none
    cores = sorted(os.sched_getaffinity(0)) if has_affinity else range(os.cpu_count() or 1)
    times = psutil.cpu_times(percpu=True)
    kinds = ("user", "nice", "system", "irq", "softirq")
    used = sum(getattr(times[core], kind, 0.0) for core in cores for kind in kinds)
    return Use(time.perf_counter(), used, cpu_seconds())


@dataclass(frozen=True)
class Attempt:
    """The state of the machine around a measurement of a side; all values are 0 on a free machine.

    Args:
        waiting: wall seconds over CPU seconds of the worse calibration, minus 1.
        change: the larger CPU time over the smaller one of the worse calibration and of the
            reference, minus 1.
        others: share of all cores' time that other programs used.
    """

    waiting: float
    change: float
    others: float = 0.0

    @property
    def disturbance(self) -> float:
        """The largest value in units of its limit: more than 1 means disturbed."""
        return max(self.waiting / MAX_WAITING, self.change / MAX_CHANGE, self.others / MAX_OTHERS)

    @property
    def reasons(self) -> str:
        reasons = []
        if self.waiting > MAX_WAITING:
            reasons.append(f"wall time was {1 + self.waiting:.2f} × CPU time")
        if self.change > MAX_CHANGE:
            reasons.append(f"the speed of the cores changed by {1 + self.change:.2f} ×")
        if self.others > MAX_OTHERS:
            reasons.append(f"other programs used {self.others:.0%} of the CPU")
        return " and ".join(reasons)


def others_share(before: Use, after: Use) -> float:
    others = (after.all_seconds - before.all_seconds) - (after.own_seconds - before.own_seconds)
    return max(others, 0.0) / ((after.moment - before.moment) * available_cores())


@dataclass
class Sides:
    settings: Settings
    show: Callable[[str], None]
    attempts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def measure(self, name: str, function: Callable[..., Any] | str, **arguments: Any) -> Any:
        """Call a function in a fresh process until it was not disturbed, at most `repeats` more
        times.
        """
        self.show(name)
        tried: list[tuple[Attempt, Any]] = []
        while not tried or (tried[-1][0].disturbance > 1 and len(tried) <= self.settings.repeats):
            if tried:
                self.show(f"  measured again, because {tried[-1][0].reasons}")
            before, started = self._calm(), read_use()
            result = self.run(function, **arguments)
            share = others_share(started, read_use())
            tried.append((self._attempt(before, self.calibrate(), others=share), result))
        kept = min(range(len(tried)), key=lambda number: tried[number][0].disturbance)
        self.attempts[name] = [
            {**asdict(attempt), "disturbed": attempt.disturbance > 1, "kept": number == kept}
            for number, (attempt, _) in enumerate(tried)
        ]
        if tried[kept][0].disturbance > 1:
            self.show(f"  stayed disturbed: {tried[kept][0].reasons}")
        return tried[kept][1]

    def run(self, function: Callable[..., Any] | str, **arguments: Any) -> Any:
        return in_fresh_process(function, log_path=self.settings.folder / "bench.log", **arguments)

    def calibrate(self) -> Calibration:
        return calibrate(self.settings.size(N_PRODUCTS, tiny=10))

    @cached_property
    def reference(self) -> Calibration:
        calibrations = [self.calibrate() for _ in range(N_REFERENCES)]
        return min(calibrations, key=lambda calibration: calibration.cpu_seconds)

    def _attempt(self, *calibrations: Calibration, others: float = 0.0) -> Attempt:
        waiting = max(each.wall_seconds / each.cpu_seconds for each in calibrations) - 1
        speeds = [self.reference.cpu_seconds / each.cpu_seconds for each in calibrations]
        return Attempt(waiting, max(max(speed, 1 / speed) for speed in speeds) - 1, others)

    def _calm(self) -> Calibration:
        _ = self.reference  # before the first side
        for _ in range(N_CALM - 1):
            calibration = self.calibrate()
            if self._attempt(calibration).disturbance <= 1:
                return calibration
            time.sleep(self.settings.size(PAUSE_SECONDS, tiny=0.0))
        return self.calibrate()
