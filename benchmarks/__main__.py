"""`python -m benchmarks [PART]`: run one part or all parts, write their records, print the table.

`make bench` and `make bench-PART` run this command.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

# TensorFlow reads this variable when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer

from benchmarks.data import load_split, write_reviews
from benchmarks.goals import PARTS, rows
from benchmarks.record import markdown_table, write_record
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.config import DataConfig
from tuning.errors import ArgumentError, TuningError
from tuning.hardware import available_cores

N_TINY_ROWS = 300
TINY_MINUTES = 0.1

app = typer.Typer(add_completion=False)


def option(default: Any, text: str) -> Any:
    return typer.Option(default, help=text)


@app.command()
def bench(
    part: str = typer.Argument("all", help=f"Benchmark: one of {', '.join(PARTS)}, or all."),
    *,
    data: str = option(DataConfig.data, "Data set, as for python -m tuning tune."),
    text_column: str | None = option(
        None, "Name of the column of texts (default: the first known name)."
    ),
    label_column: str | None = option(
        None, "Name of the column of labels (default: the first known name)."
    ),
    seed: int = option(Settings.seed, "Seed of the split, the samplers and the trainings."),
    workers: int = option(available_cores(), "Number of this program's workers."),
    minutes: float | None = option(
        None,
        f"Minutes of each search of time-to-accuracy (default {Settings.minutes:g}, or"
        f" {TINY_MINUTES:g} with --tiny).",
    ),
    repeats: int = option(
        Settings.repeats,
        "Maximum number of times that a side is measured again after a disturbance of the machine.",
    ),
    tiny: bool = option(False, "Try the command at sizes that take seconds."),
    results: str = option("results", "Folder with the subfolder bench for records."),
) -> None:
    """Measure this program beside KerasTuner, Optuna, Keras, fastText and NumPy.

    Each figure is compared with its goal.
    """
    parts = tuple(PARTS) if part == "all" else (part,)
    if part not in (*PARTS, "all"):
        raise ArgumentError(f"PART must be one of {', '.join(PARTS)} or all; received {part!r}.")
    if minutes is None:
        minutes = TINY_MINUTES if tiny else Settings.minutes
    settings = Settings(
        data=DataConfig(data=data, text_column=text_column, label_column=label_column),
        seed=seed,
        n_workers=workers,
        minutes=minutes,
        tiny=tiny,
        repeats=repeats,
        folder=Path(results) / "bench",
    )
    splits = load_split(settings.data, seed=seed)
    if tiny:
        path = settings.folder / "tiny.parquet"
        drawn = write_reviews(splits=splits, path=path, n_rows=N_TINY_ROWS, seed=seed)
        settings, splits = replace(settings, data=drawn), load_split(drawn, seed=seed)
    table = []
    for name in parts:
        started, sides = time.perf_counter(), Sides(settings, show=_show)
        module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
        values = module.measure(settings, splits, sides)
        values["noise"] = sides.attempts
        values["wall_seconds"] = round(time.perf_counter() - started, 1)
        command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
        path = write_record(settings, splits, name, values, command=command, day=date.today())
        _show(f"wrote {path}")
        table += rows(name, values)
    _show("docs/benchmarks.md says what each figure is.")
    _show(markdown_table(("figure", "measured", "goal", "reached"), table))


def _show(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    # Exit 1 is a `TuningError`, and 2 a wrong flag. Any other exception is a bug, and is raised.
    try:
        app()
    except ArgumentError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except TuningError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
