"""The start of `tune`, from the command to the first trial: the wall time of each step, and the CPU
time of each process until then.

    .venv/bin/python -m benchmarks.start --space baseline_lstm --data reviews.csv

The flags are those of `tune`. CPU seconds are printed beside the wall time because they depend less
on other programs. On two free cores the coordinator and the fork server run side by side. The start
takes as long as the slower of the two, and then as the first worker's training.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter

import psutil

from benchmarks.processes import lines_of

# The steps, by the beginnings of the lines that `tune` prints.
STEPS = {
    "reading": "the coordinator has imported its modules",
    "starting the workers": "the data are ready",
    "Data": "the workers are ready, the study is open",
    "[0/1] trial 0 starts": "the first trial is with a worker",
    "[0/1] trial 0 epoch 1": "its first epoch is over",
}


def role_of(process: psutil.Process, command: int) -> str:
    """Return the role of a process of the command with the process id `command`."""
    if process.pid == command:
        return "coordinator"
    words = process.cmdline()
    if "tuning.evaluation.linear_reference" in words:
        return "linear model"
    if "forkserver" not in " ".join(words):
        return "others"
    return "fork server" if process.ppid() == command else "workers"


def cpu_seconds(command: int) -> Counter[str]:
    """Return the CPU seconds of the processes of a command so far, by their roles."""
    seconds: Counter[str] = Counter()
    parent = psutil.Process(command)
    for process in (parent, *parent.children(recursive=True)):
        try:
            times = process.cpu_times()
            seconds[role_of(process, command)] += times.user + times.system
        except psutil.Error:  # the process has ended meanwhile
            continue
    return seconds


def main(flags: list[str]) -> None:
    """Train one epoch of one trial, and print the time of each step."""
    with tempfile.TemporaryDirectory() as folder:
        results = [] if "--results" in flags else ["--results", folder]
        own = ["--study", f"start-{time.time_ns()}", "--n-trials", "1", "--epochs", "1"]
        for pid, seconds, line in lines_of(["tune", *results, *flags, *own, "--no-confirm"]):
            step = next((text for key, text in STEPS.items() if line.startswith(key)), None)
            if step is not None:
                cpu = cpu_seconds(pid)
                shown = ", ".join(f"{role} {cpu[role]:.1f}" for role in sorted(cpu))
                print(f"{seconds:6.1f} s  {step} (CPU s: {shown})")


if __name__ == "__main__":
    main(sys.argv[1:])
