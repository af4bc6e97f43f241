"""A whole run as a user makes it: `tune` with its confirmation, then `export-best`. Each space
begins with an empty results folder, so the data are read and tokenized again.

The times are those of the commands, with their start. The goals are those of the film reviews on
two cores. What the commands print is in `bench.log`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.goals import figures
from benchmarks.processes import (
    adopt_orphans,
    cpu_seconds,
    end_fork_server,
    in_fresh_process,
    lines_of,
)
from benchmarks.settings import Settings
from benchmarks.sides import sides_of
from tuning.data.splits import SplitReviews

SPACES = ("reviews", "baseline_lstm")  # the default space, and the notebook's model alone
TINY = ["--n-trials", "2", "--epochs", "1", "--no-confirm"]

Run = dict[str, dict[str, float]]  # by command: `seconds` and `cpu_seconds`


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """Return the times of both commands for each space."""
    sides, runs = sides_of(settings, show=show), {}
    for space in SPACES:
        show(f"tune and export-best with the space {space}")
        both = partial(
            in_fresh_process, run, log_path=settings.log_path, space=space, settings=settings
        )
        runs[space] = sides.measure(space, both)
        seconds = ", ".join(f"{name} {of['seconds']:.1f} s" for name, of in runs[space].items())
        show(f"  {seconds}")
    in_all = {space: _in_all(both) for space, both in runs.items()}
    return {
        **figures(
            {
                "run_minutes": in_all["reviews"],
                "run_minutes_baseline": in_all["baseline_lstm"],
                "export_seconds": runs["reviews"]["export-best"]["seconds"],
            }
        ),
        "runs": runs,
        "noise": sides.record(),
    }


def _in_all(both: Run) -> float:
    """Return the minutes of both commands."""
    return sum(command["seconds"] for command in both.values()) / 60


def run(*, space: str, settings: Settings) -> Run:
    """Run both commands with an empty results folder, and return the times of each. The output is
    that of this process, a line with the seconds since the start of its command.
    """
    adopt_orphans()
    data, flags = settings.data, ["--space", space, "--study", "run"]
    flags += ["--data", data.data, "--seed", str(settings.seed)]
    flags += ["--workers", str(settings.n_workers), *settings.size([], tiny=TINY)]
    for name, column in (
        ("--text-column", data.text_column),
        ("--label-column", data.label_column),
    ):
        flags += [name, column] if column else []
    commands = {"tune": flags, "export-best": ["--study", "run"]}
    times: Run = {}
    with tempfile.TemporaryDirectory() as results:
        storage = f"sqlite:///{results}/optuna.db"  # also if the variable STORAGE names another
        for command, its_flags in commands.items():
            started, cpu_started = time.perf_counter(), cpu_seconds()
            everything = [command, *its_flags, "--results", results, "--storage", storage]
            for _, seconds, line in lines_of(everything):
                print(f"{seconds:6.1f} s  {line}", end="")
            seconds = time.perf_counter() - started
            end_fork_server()
            cpu = cpu_seconds() - cpu_started
            times[command] = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
    return times
