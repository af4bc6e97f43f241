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
from typing import Annotated, Any

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


def option(text: str) -> Any:
    return typer.Option(show_default=False, help=text)


@app.command()
def bench(
    part: Annotated[
        str,
        typer.Argument(
            show_default=False, help=f"Benchmark: one of {', '.join(PARTS)}, or all (default all)."
        ),
    ] = "all",
    *,
    data: Annotated[
        str, option(f"Data set, as for python -m tuning tune (default {DataConfig.data}).")
    ] = DataConfig.data,
    text_column: Annotated[
        str | None, option("Name of the column of texts (default: the first known name).")
    ] = None,
    label_column: Annotated[
        str | None, option("Name of the column of labels (default: the first known name).")
    ] = None,
    seed: Annotated[
        int, option(f"Seed of the split, the samplers and the trainings (default {Settings.seed}).")
    ] = Settings.seed,
    workers: Annotated[
        int | None, option("Number of this program's workers (default: one for each CPU core).")
    ] = None,
    minutes: Annotated[
        float | None,
        option(f"Minutes of each search of time-to-accuracy (default {Settings.minutes:g})."),
    ] = None,
    repeats: Annotated[
        int,
        option(
            "Maximum number of times that a side is measured again after a disturbance of the"
            f" machine (default {Settings.repeats})."
        ),
    ] = Settings.repeats,
    amazon: Annotated[
        str, option(f"Path of the Amazon reviews of the throughput (default {Settings.amazon}).")
    ] = Settings.amazon,
    tiny: Annotated[
        bool, option("Whether to try the command at sizes that take seconds (default --no-tiny).")
    ] = False,
    results: Annotated[
        Path, option("Folder with the subfolder bench for records (default results).")
    ] = Path("results"),
) -> None:
    """Measure this program beside KerasTuner, Optuna, Keras, PyTorch, fastText and NumPy.

    Each figure is compared with its goal.
    """
    parts = tuple(PARTS) if part == "all" else (part,)
    if part not in (*PARTS, "all"):
        raise ArgumentError(f"PART must be one of {', '.join(PARTS)} or all; received {part!r}.")
    settings = Settings(
        data=DataConfig(data=data, text_column=text_column, label_column=label_column),
        seed=seed,
        n_workers=available_cores() if workers is None else workers,
        minutes=(TINY_MINUTES if tiny else Settings.minutes) if minutes is None else minutes,
        tiny=tiny,
        repeats=repeats,
        amazon=amazon,
        folder=results / "bench",
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
