"""A whole run as a user makes it: `tune` with its confirmation, then `export-best`. Each space
begins with an empty results folder, so the data are read and tokenized again.

The times are those of the commands, with their start. The goals are those of the film reviews on
two cores. What the commands print is in `bench.log`.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from typing import Any

from benchmarks.goals import figures
from benchmarks.processes import TUNING, adopt_orphans, cpu_seconds, end_fork_server
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.data.splits import SplitReviews

SPACES = ("text", "baseline_lstm")  # the default space, and the notebook's model alone
TINY = ["--n-trials", "2", "--epochs", "1", "--no-confirm"]

Run = dict[str, dict[str, float]]  # by command: `seconds` and `cpu_seconds`


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
    runs: dict[str, Run] = {}
    for space in SPACES:
        name = f"tune and export-best with the space {space}"
        runs[space] = sides.measure(name, run, space=space, settings=settings)
        seconds = (f"{command} {of['seconds']:.1f} s" for command, of in runs[space].items())
        sides.show(f"  {', '.join(seconds)}")
    minutes = [sum(of["seconds"] for of in runs[space].values()) / 60 for space in SPACES]
    values = {
        "run_minutes": minutes[0],
        "run_minutes_baseline": minutes[1],
        "export_seconds": runs["text"]["export-best"]["seconds"],
    }
    return {**figures(values), "runs": runs}


def run(*, space: str, settings: Settings) -> Run:
    adopt_orphans()
    data = settings.data
    flags = {
        "--space": space,
        "--data": data.data,
        "--seed": settings.seed,
        "--workers": settings.n_workers,
        "--text-column": data.text_column,
        "--label-column": data.label_column,
    }
    given = [f"{name}={value}" for name, value in flags.items() if value is not None]
    commands = {"tune": [*given, *settings.size([], tiny=TINY)], "export-best": []}
    times: Run = {}
    with tempfile.TemporaryDirectory() as results:
        # The storage is named also because the variable STORAGE may name another one.
        storage = f"--storage=sqlite:///{results}/optuna.db"
        shared = ["--study=run", f"--results={results}", storage]
        for command, own in commands.items():
            started, cpu_started = time.perf_counter(), cpu_seconds()
            subprocess.run([*TUNING, command, *own, *shared], check=True)
            seconds = time.perf_counter() - started
            end_fork_server()
            cpu = cpu_seconds() - cpu_started
            times[command] = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
    return times
