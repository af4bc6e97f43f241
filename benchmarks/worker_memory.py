"""The resident memory of one worker over 200 small trials of the default search space's
architectures.

    .venv/bin/python -m benchmarks.worker_memory --data reviews.csv
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from benchmarks.ours import search
from benchmarks.rows import write_reviews
from benchmarks.texts import load_split
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.search.progress import Progressed

SPACE_PATH = Path(__file__).parent / "spaces" / "small_reviews.py"
N_ROWS = 300
N_TRIALS = 200
# Before trial 10 a worker has trained almost every architecture, and has loaded the code for it.
# Trials are counted from 0.
WARM = slice(10, 30)
LAST = slice(-20, None)
MIN_TRIALS = 50


def measure(*, path: Path, seed: int, n_trials: int) -> dict[str, Any]:
    """Return the worker's resident memory at the end of each trial, in MiB, and its growth.

    The growth compares the median of the last 20 trials with the median of trials 10–29. Medians
    are used because the configurations are random, and the model of a trial is in memory when the
    trial ends.
    """
    data = DataConfig(data=str(path), text_column="text", label_column="label")
    config = StudyConfig(
        study="worker_memory",
        space=str(SPACE_PATH),
        data=data,
        seed=seed,
        sampler="random",
        pruner="none",
        train=TrainConfig(epochs=1),
    )
    resident: list[float] = []

    def on_change(progressed: Progressed) -> None:
        if " complete" in progressed.event:
            (worker,) = [
                child
                for child in multiprocessing.active_children()
                if child.name.startswith("tuning-")
            ]
            resident.append(round(psutil.Process(worker.pid).memory_info().rss / 2**20, 1))

    with tempfile.TemporaryDirectory() as folder:
        outcome = search(
            config, folder=Path(folder), n_trials=n_trials, n_workers=1, on_change=on_change
        )
    architectures = [trial.params["architecture"] for trial in outcome.summary.trials]
    return {
        "resident_mib": resident,
        "growth": growth(resident),
        "n_trials_by_architecture": {
            name: architectures.count(name) for name in sorted(set(architectures))
        },
    }


def growth(resident: list[float]) -> float | None:
    """Return the growth of the memory as a share, `last / warm - 1`; None for fewer than 50
    trials.
    """
    if len(resident) < MIN_TRIALS:
        return None
    return statistics.median(resident[LAST]) / statistics.median(resident[WARM]) - 1


def main(
    data: Annotated[
        str, typer.Option(help=f"Data set, as for tune (default {DataConfig.data}).")
    ] = DataConfig.data,
    trials: Annotated[int, typer.Option(help=f"Number of trials (default {N_TRIALS}).")] = N_TRIALS,
    seed: Annotated[int, typer.Option(help="Random seed (default 0).")] = 0,
) -> None:
    """Print the memory of a worker as JSON."""
    splits = load_split(DataConfig(data=data), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.parquet"
        write_reviews(splits=splits, path=path, n_rows=N_ROWS, seed=seed)
        print(json.dumps(measure(path=path, seed=seed, n_trials=trials)))


if __name__ == "__main__":
    typer.run(main)
