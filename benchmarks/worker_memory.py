"""The resident memory of one worker over 200 small trials."""

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

WARM = slice(20, 30)  # by trial 20 the worker has loaded all the code that it uses
LAST = slice(-10, None)


def measure(*, path: Path, seed: int, n_trials: int) -> dict[str, Any]:
    """The worker's resident memory after each trial, in MiB, and its growth.

    The growth compares the median of the last ten trials with that of trials 20–29. It takes
    medians of ten because the models' sizes are random, and more memory stays in use after a large
    model than after a small one.
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
    """The growth of the memory as a share, `last / warm - 1`; None for fewer than 40 trials."""
    if len(resident) < 40:
        return None
    return statistics.median(resident[LAST]) / statistics.median(resident[WARM]) - 1
