"""Where the workers' time goes over a study: the share spent in training and evaluation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ours import search
from tuning.config import DataConfig, StudyConfig

USEFUL = ("train", "evaluate")  # tracing in the first step is not training


def measure(*, data: DataConfig, seed: int, n_workers: int, n_trials: int) -> dict[str, Any]:
    """A study of `masked_lstm` with the program's defaults (TPE, ASHA, 5 epochs), and its seconds by phase."""
    config = StudyConfig(study="worker_time", space="masked_lstm", seed=seed, data=data)
    with tempfile.TemporaryDirectory() as folder:
        summary = search(config, folder=Path(folder), n_trials=n_trials, n_workers=n_workers).summary
    times = [
        (trial.datetime_start.timestamp(), trial.datetime_complete.timestamp())
        for trial in summary.trials
        if trial.datetime_start and trial.datetime_complete
    ]
    phases: dict[str, float] = {}
    for trial in summary.trials:
        for phase, seconds in trial.user_attrs.get("seconds", {}).items():
            phases[phase] = phases.get(phase, 0.0) + seconds
    total = worker_seconds(times, n_workers=n_workers)
    return {
        "share": sum(phases.get(phase, 0.0) for phase in USEFUL) / total,
        "worker_seconds": round(total, 3),
        "seconds_by_phase": {**{name: round(s, 3) for name, s in phases.items()}, "other": round(total - sum(phases.values()), 3)},
        "n_trials": len(times),
    }


def worker_seconds(times: Sequence[tuple[float, float]], *, n_workers: int) -> float:
    """Seconds that workers were there to be used: all of them from the first trial's start to the last one's, and from then on each to
    the end of its own trial, since no other is left to give it. Does not depend on what the trials say of themselves.

    Args:
        times: start and end of each trial.
    """
    first, last = min(start for start, _ in times), max(start for start, _ in times)
    return n_workers * (last - first) + sum(end - last for _, end in times if end > last)
