"""A fixed numeric loop on all CPU cores at once, which shows whether the machine is throttled or
busy.

On a free machine the loop takes as much CPU time as wall time, and always the same CPU time. If
other programs use the cores, or if the host takes them away, the wall time is longer: a host that
throttles a virtual machine doubles it, and the machine's own count of stolen time stays 0. If the
cores are clocked lower or share their caches, the CPU time is longer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

SGEMM = (512, 192, 128)  # rows, inner size and columns of a product
N_PRODUCTS = 2_000
N_STEPS = 6_000_000  # number of steps of the loop in Python
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Calibration:
    """The seconds of the loop, as means over the cores."""

    wall_seconds: float
    cpu_seconds: float

    @property
    def wall_ratio(self) -> float:
        """Wall seconds divided by CPU seconds; 1 on a free machine."""
        return self.wall_seconds / self.cpu_seconds

    def speed(self, reference: Calibration) -> float:
        """Return the speed of the cores in comparison with a reference: the ratio of the CPU
        seconds.
        """
        return reference.cpu_seconds / self.cpu_seconds


def calibrate(n_cores: int, *, share: float = 1.0) -> Calibration:
    """Run the loop, or a share of it, in a process for each core. The processes begin together,
    after all of them have loaded NumPy.
    """
    command = [sys.executable, "-m", "benchmarks.calibration", str(share)]
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )
        for _ in range(n_cores)
    ]
    for process in processes:
        assert process.stdout  # for mypy: it is a pipe
        process.stdout.readline()
    for process in processes:
        assert process.stdin
        process.stdin.write("begin\n")
        process.stdin.flush()
    calibrations = [Calibration(**json.loads(process.communicate()[0])) for process in processes]
    return Calibration(
        sum(calibration.wall_seconds for calibration in calibrations) / n_cores,
        sum(calibration.cpu_seconds for calibration in calibrations) / n_cores,
    )


def loop(share: float) -> Calibration:
    """Run the loop in this process."""
    rows, inner, columns = SGEMM
    left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    product = np.empty((rows, columns), np.float32)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(round(N_PRODUCTS * share)):
        np.matmul(left, right, out=product)
    total = 0
    for number in range(round(N_STEPS * share)):
        total += number & 7
    return Calibration(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asdict(loop(float(sys.argv[1])))))
