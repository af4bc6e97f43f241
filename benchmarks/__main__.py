"""`python -m benchmarks [PART]`: run one part or all, write its record, print the table. `make
bench` and its parts call it.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from datetime import date
from pathlib import Path
from typing import Annotated

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.goals import PARTS, rows
from benchmarks.page import write_page
from benchmarks.record import describe, newest_records, write_record
from benchmarks.settings import Settings
from benchmarks.texts import load_split
from tuning.config import DataConfig
from tuning.errors import TuningError
from tuning.hardware import available_cores

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    part: Annotated[str, typer.Argument(help=f"One of {', '.join(PARTS)}, or all.")] = "all",
    data: Annotated[str, typer.Option(help="As of `python -m tuning tune`.")] = "movie_reviews",
    text_column: Annotated[str | None, typer.Option(help="The column of the text.")] = None,
    label_column: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    seed: Annotated[int, typer.Option(help="Split, samplers and trainings of every side.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Workers of this program; the peers have all cores.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Time of each tuner in time-to-accuracy.")] = 30.0,
    tiny: Annotated[
        bool, typer.Option(help="Sizes of seconds, to try the command; its figures mean nothing.")
    ] = False,
    results: Annotated[
        Path, typer.Option(help="The records and bench.html go to its folder bench.")
    ] = Path("results"),
) -> None:
    """Measure this program beside KerasTuner, Optuna, Keras, PyTorch and NumPy, each figure with
    its goal.
    """
    parts = PARTS if part == "all" else (part,)
    if part not in (*PARTS, "all"):
        raise ValueError(f"PART must be one of {', '.join(PARTS)} or all; received {part!r}.")
    config = DataConfig(data=data, text_column=text_column, label_column=label_column)
    n_workers = available_cores() if workers is None else workers
    settings = Settings(
        data=config,
        seed=seed,
        n_workers=n_workers,
        minutes=minutes,
        tiny=tiny,
        folder=results / "bench",
    )
    splits = load_split(config, seed=seed)
    for name in parts:
        started = time.perf_counter()
        values = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").measure(
            settings, splits, say=_say
        )
        command = ["python", "-m", "benchmarks", *sys.argv[1:]]
        record = {
            **describe(settings, splits, command=command),
            "wall_seconds": round(time.perf_counter() - started, 1),
            **values,
        }
        _say(f"wrote {write_record(settings, name, record, day=date.today())}")
    records = newest_records(settings.folder, tiny=tiny)
    _print_table({name: records[name] for name in parts})
    _say(f"wrote {write_page(settings.folder, records, tiny=tiny)}")


def _say(line: str) -> None:
    print(line, flush=True)


def _print_table(records: dict[str, dict[str, object]]) -> None:
    table = Table("figure", "measured", "goal", "reached")
    for row in rows(records):
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    """Exit 0 done, 1 what a user can mend, in one sentence, 2 bad flags."""
    try:
        app()
    except TuningError as error:
        sys.exit(str(error))
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
