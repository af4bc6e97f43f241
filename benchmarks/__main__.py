"""`python -m benchmarks [PART]`: run one part or all parts, write their records, print the table.

`make bench` and `make bench-PART` run this command.
"""

from __future__ import annotations

import importlib
import shlex
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

from benchmarks.data import load_split, write_reviews
from benchmarks.goals import PARTS, rows
from benchmarks.program import program, run
from benchmarks.record import markdown_table, write_record
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.config import DataConfig
from tuning.errors import ArgumentError
from tuning.hardware import available_cores

N_TINY_ROWS = 300
TINY_MINUTES = 0.1


def bench(
    part: str = "all",
    *,
    data: str = DataConfig.data,
    text_column: str | None = None,
    label_column: str | None = None,
    seed: int = Settings.seed,
    workers: int | None = None,
    minutes: float | None = None,
    repeats: int = Settings.repeats,
    tiny: bool = False,
    results: str = "results",
) -> None:
    """Measure this program beside KerasTuner, Optuna, Keras, fastText and NumPy.

    Each figure is compared with its goal.

    Args:
        part: a benchmark, or all.
        data: data set, as for python -m tuning tune.
        text_column: name of the column of texts (default: the first known name).
        label_column: name of the column of labels (default: the first known name).
        seed: seed of the split, the samplers and the trainings.
        workers: number of this program's workers (default: one for each CPU core).
        minutes: minutes of each search of time-to-accuracy (default 20, or 0.1 with tiny).
        repeats: maximum number of times that a side is measured again after a disturbance of the
            machine.
        tiny: try the command at sizes that take seconds.
        results: folder with the subfolder bench for records.
    """
    parts = tuple(PARTS) if part == "all" else (part,)
    if part not in (*PARTS, "all"):
        raise ArgumentError(f"PART must be one of {', '.join(PARTS)} or all; received {part!r}.")
    if minutes is None:
        minutes = TINY_MINUTES if tiny else Settings.minutes
    settings = Settings(
        data=DataConfig(data=data, text_column=text_column, label_column=label_column),
        seed=seed,
        n_workers=available_cores() if workers is None else workers,
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


app = program(bench)


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
