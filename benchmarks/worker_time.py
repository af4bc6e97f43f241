"""The workers' time by phase over a study, and the share of training and evaluation."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ours import search
from tuning.config import DataConfig, StudyConfig
from tuning.search.progress import Progressed

USEFUL = ("train", "evaluate")  # without the first step of a training, which traces
NOT_THE_WORKERS = ("storage",)  # the coordinator's time, which a trial's times include

Moments = Sequence[tuple[float, int]]  # seconds, and the number of workers with a trial from then


def measure(*, data: DataConfig, seed: int, n_workers: int, n_trials: int) -> dict[str, Any]:
    """Run a study of `masked_lstm` with this program's defaults (TPE, ASHA, 5 epochs), and return
    the seconds by phase.
    """
    config = StudyConfig(study="worker_time", space="masked_lstm", seed=seed, data=data)
    moments: list[tuple[float, int]] = []

    def on_change(progressed: Progressed) -> None:
        if progressed.running or moments:  # from the start of the first trial
            moments.append((time.perf_counter(), len(progressed.running)))

    with tempfile.TemporaryDirectory() as folder:
        summary = search(
            config, folder=Path(folder), n_trials=n_trials, n_workers=n_workers, on_change=on_change
        ).summary
    phases: dict[str, float] = {}
    for trial in summary.trials:
        for phase, seconds in trial.user_attrs.get("seconds", {}).items():
            phases[phase] = round(phases.get(phase, 0.0) + seconds, 3)
    total = worker_seconds(moments, n_workers=n_workers)
    useful = sum(phases.get(phase, 0.0) for phase in USEFUL)
    named = sum(seconds for phase, seconds in phases.items() if phase not in NOT_THE_WORKERS)
    return {
        "share": useful / total,
        "share_with_the_end": useful / (n_workers * (moments[-1][0] - moments[0][0])),
        "worker_seconds": round(total, 3),
        "seconds_by_phase": {**phases, "other": round(total - named, 3)},
        "n_trials": summary.n_finished,
    }


def worker_seconds(moments: Moments, *, n_workers: int) -> float:
    """Return the wall time in which workers could train, summed over the workers.

    This time does not depend on the times that trials record. All workers count from the start of
    the first trial to the last moment at which all of them had a trial. After this moment only
    workers with a trial count, because no trial is left for the others. `share_with_the_end` counts
    all workers to the end.
    """
    full = max((number for number, (_, busy) in enumerate(moments) if busy == n_workers), default=0)
    end_game = sum(
        (end - start) * busy for (start, busy), (end, _) in itertools.pairwise(moments[full:])
    )
    return n_workers * (moments[full][0] - moments[0][0]) + end_game
