"""The coordinator's time for a trial in a small and in a large study, with fake trainings.

`tuning.search.loop.Search` runs as in a search, on SQLite in WAL mode, with TPE and ASHA. Only the
pool is fake: its worker answers each message at once. The wall time of the search is therefore the
coordinator's own: ask, suggest, report, prune, files, attributes, tell, summary.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.configurations import SPACE_PATH
from benchmarks.ours import study_config
from benchmarks.replay import METRICS, Plan, ReplayPool, replayed
from tuning.config import DataConfig
from tuning.data.splits import SplitReviews
from tuning.report.dashboard import annotate
from tuning.search.events import Event, Progressed
from tuning.search.loop import Search
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace, declare
from tuning.training.result import Epoch, TrainingJob

TRIAL_SECONDS = 10.0  # duration of a trial, with which the goal compares the coordinator's time
FAKE_SECONDS = {"build": 0.1, "view": 0.01, "train": 9.0, "evaluate": 0.8}


def measure(*, splits: SplitReviews, n_before: int, n_trials: int, seed: int) -> dict[str, Any]:
    config = study_config("coordinator", DataConfig(), seed=seed)
    space, epochs = declare(SPACE_PATH, n_classes=2), config.train.epochs
    rng = np.random.default_rng(seed)
    events: list[float] = []  # the times of the events that are shown as lines

    def plan(job: TrainingJob) -> Plan:
        return Plan([Epoch(n, fake_metrics(rng), 2.0) for n in range(1, epochs + 1)], 0.1)

    def keep_time(event: Event) -> None:
        if isinstance(event, Progressed) and event.event:
            events.append(time.perf_counter())

    pool = ReplayPool(plan, metric=config.metric, n_workers=1)
    options: Any = {"splits": splits, "subscribers": [keep_time, annotate]}
    with (
        tempfile.TemporaryDirectory() as folder,
        replayed(config, space, pool, folder=Path(folder), **options) as session,
    ):
        session.study.add_trials(past_trials(n_before, space=space, epochs=epochs, seed=seed))
        search = Search(session)
        started = time.perf_counter()
        search.run(n_before + n_trials, timeout_seconds=None)
    seconds = (events[-1] - started) / n_trials
    return {"n_before": n_before, "seconds_a_trial": seconds, "share": seconds / TRIAL_SECONDS}


def fake_metrics(rng: np.random.Generator) -> dict[str, float]:
    return dict(zip(METRICS, rng.uniform(0.5, 0.9, len(METRICS)).tolist(), strict=True))


def past_trials(
    n: int, *, space: SearchSpace, epochs: int, seed: int
) -> list[optuna.trial.FrozenTrial]:
    """Half of the trials were pruned after an epoch."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=seed)
    )
    for number in range(n):
        trial = study.ask()
        suggest(trial, space.hyperparameters)
        pruned = number % 2 == 1
        metrics = fake_metrics(rng)
        for epoch in range(1, 2 if pruned else epochs + 1):
            trial.report(metrics["val_accuracy"], step=epoch)
        attributes = {
            "best_epoch": 1,
            "n_epochs": 1,
            "n_parameters": 1000,
            "seed": seed,
            "seconds": FAKE_SECONDS,
        }
        for name, value in {**attributes, **metrics}.items():
            trial.set_user_attr(name, value)
        study.tell(
            trial,
            None if pruned else metrics["val_accuracy"],
            state=optuna.trial.TrialState.PRUNED if pruned else None,
        )
    return study.get_trials(deepcopy=False)
