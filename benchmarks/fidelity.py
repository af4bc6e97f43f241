"""The time of a whole `tune` on large data sets, and the time until it reaches an accuracy with and
without evaluations within the first epoch.

    .venv/bin/python -m benchmarks.fidelity --data reviews.csv --rows 100000,1000000
    .venv/bin/python -m benchmarks.fidelity --data reviews.csv --min-texts 2048

For each number of rows, texts are drawn from the data with replacement; without `--rows`, the data
are searched as they are. `tune` searches them with its default rungs, or with `--min-texts`, and
confirms its best trials. On the largest, `tune` then searches again with whole epochs alone,
without a confirmation. Prints one JSON object for each search.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from benchmarks.processes import lines_of
from benchmarks.rows import write_reviews
from benchmarks.texts import load_split
from tuning.config import DataConfig

# Two accuracies are called equal if they differ by this or less.
TOLERANCE = 0.002
SEED = 0
EPOCH = re.compile(r"trial (?P<trial>\d+) epoch (?P<epoch>[\d.e-]+): \S+ (?P<value>[\d.]+)")
COMPLETE = re.compile(
    r"trial (?P<trial>\d+) complete: \S+ (?P<value>[\d.]+) in epoch (?P<epoch>[\d.e-]+)"
)
REPEAT = re.compile(r"trial (\d+), seed \d+: \S+ ([\d.]+)")

Epochs = list[dict[str, float]]


@dataclass(frozen=True)
class Searched:
    """A call of `tune`.

    Args:
        seconds: the duration of the command.
        epochs: every evaluation of a trial: its `seconds` since the start of the command, `trial`,
            `epoch` and `value`. The value within an epoch is on a share of the validation split.
        complete: the same of every complete trial with its best epoch, at its end.
        repeats: the values of the repeats of the confirmation by trial, on the whole split.
    """

    seconds: float
    epochs: Epochs
    complete: Epochs
    repeats: dict[int, list[float]]


def search(path: Path, *, flags: list[str]) -> Searched:
    """Call `tune` on a Parquet file with an empty results folder."""
    epochs: Epochs = []
    complete: Epochs = []
    repeats: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as results:
        started = time.perf_counter()
        data = ["--data", str(path), "--text-column", "text", "--label-column", "label"]
        for _, seconds, line in lines_of(["tune", *data, "--results", results, *flags]):
            print(line, end="", file=sys.stderr)
            for pattern, read in ((EPOCH, epochs), (COMPLETE, complete)):
                if match := pattern.search(line):
                    of_line = {name: float(text) for name, text in match.groupdict().items()}
                    of_line["trial"] = int(match["trial"])
                    read.append({"seconds": round(seconds, 1), **of_line})
            if match := REPEAT.search(line):
                repeats.setdefault(int(match[1]), []).append(float(match[2]))
    return Searched(round(time.perf_counter() - started, 1), epochs, complete, repeats)


def seconds_to(epochs: Epochs, target: float) -> float | None:
    """Return the seconds until an evaluation is within `TOLERANCE` of the target or above it; None
    if there is none.
    """
    reached = (
        epoch["seconds"] for epoch in epochs if epoch["value"] >= round(target - TOLERANCE, 4)
    )
    return next(reached, None)


def main(
    *,
    data: Annotated[
        str, typer.Option(help=f"Data set, as for tune (default {DataConfig.data}).")
    ] = DataConfig.data,
    text_column: Annotated[str | None, typer.Option(help="Name of the column of texts.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Name of the column of labels.")] = None,
    rows: Annotated[
        str, typer.Option(help="Numbers of rows, with commas, in ascending order (default: all).")
    ] = "",
    min_texts: Annotated[
        int | None,
        typer.Option(
            help="Minimum number of texts of a part, as for tune (default: that of tune)."
        ),
    ] = None,
    space: Annotated[str, typer.Option(help="Search space.")] = "mean_embedding",
    trials: Annotated[int, typer.Option(help="Number of trials of each search.")] = 16,
) -> None:
    """Print the time of each search, and the times until the best value of the last one."""
    config = DataConfig(data=data, text_column=text_column, label_column=label_column)
    splits = load_split(config, seed=SEED)
    flags = ["--space", space, "--n-trials", str(trials), "--seed", str(SEED)]
    own = [] if min_texts is None else ["--min-texts", str(min_texts)]
    all_texts = pd.concat(splits.frames.values())
    sizes = [int(number) for number in rows.split(",")] if rows else [len(all_texts)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.parquet"
        for n_rows in sizes:
            if rows:
                write_reviews(splits=splits, path=path, n_rows=n_rows, seed=SEED)
            else:
                all_texts.to_parquet(path)
            with_parts = search(path, flags=[*flags, *own])
            show(with_parts, n_rows=n_rows, rungs="default")
        whole_epochs = ["--no-confirm", "--min-texts", str(n_rows)]
        whole = search(path, flags=[*flags, *whole_epochs])
        show(whole, n_rows=n_rows, rungs="whole epochs")
    print(json.dumps(times_of(with_parts, whole)))


def times_of(with_parts: Searched, whole: Searched) -> dict[str, float | None]:
    """Return the best value with whole epochs, the seconds until each search is within `TOLERANCE`
    of it, and the best mean of the repeats of the trials that have the most repeats.

    `default` is the time of an evaluation, which may be on a share of the validation split, and
    `default_complete` that of the end of a trial, whose value is of the whole split.
    """
    target = max(epoch["value"] for epoch in whole.epochs)
    most = max(map(len, with_parts.repeats.values()), default=0)
    means = [statistics.fmean(v) for v in with_parts.repeats.values() if len(v) == most]
    return {
        "target": target,
        "whole_epochs": seconds_to(whole.epochs, target),
        "default": seconds_to(with_parts.epochs, target),
        "default_complete": seconds_to(with_parts.complete, target),
        "best_mean_of_repeats": round(max(means), 4) if means else None,
    }


def show(searched: Searched, *, n_rows: int, rungs: str) -> None:
    """Print a search as JSON."""
    print(json.dumps({"n_rows": n_rows, "rungs": rungs, **asdict(searched)}), flush=True)


if __name__ == "__main__":
    typer.run(main)
