"""Resident memory of one worker over 200 small trials."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
from pathlib import Path
from typing import Any

import psutil

from benchmarks.ours import search, study_config
from tuning.config import DataConfig, TrainConfig
from tuning.search.progress import Progressed

WARM = slice(20, 30)  # by then every shape of code has been loaded
LAST = slice(-10, None)


def measure(*, path: Path, seed: int, n_trials: int) -> dict[str, Any]:
    """MiB resident in the worker after each trial, and by what share it grows from trials 20–29 to
    the last ten (medians).

    The medians are of ten trials because sizes are drawn at random: a large model leaves more
    behind than a small one.
    """
    data = DataConfig(data=str(path), text_column="text", label_column="label")
    config = study_config(
        "worker_memory",
        data,
        seed=seed,
        sampler="random",
        pruner="none",
        train=TrainConfig(epochs=1),
    )
    resident: list[float] = []

    def look(progressed: Progressed) -> None:
        if " complete" in progressed.event:
            (worker,) = [
                child
                for child in multiprocessing.active_children()
                if child.name.startswith("tuning-")
            ]
            resident.append(round(psutil.Process(worker.pid).memory_info().rss / 2**20, 1))

    with tempfile.TemporaryDirectory() as folder:
        search(config, folder=Path(folder), n_trials=n_trials, n_workers=1, on_change=look)
    return {"resident_mib": resident, "growth": growth(resident)}


def growth(resident: list[float]) -> float | None:
    """The share by which memory grew; None for fewer than 40 trials."""
    if len(resident) < 40:
        return None
    return statistics.median(resident[LAST]) / statistics.median(resident[WARM]) - 1
