"""This program as its users call it: `tuning.search.tune.tune` into an empty results folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from benchmarks.configurations import SPACE_PATH, Configuration
from tuning.config import DataConfig, StudyConfig, TrainConfig
from tuning.data.corpus import Corpus
from tuning.results import ResultsDir
from tuning.search.progress import Progressed
from tuning.search.tune import Outcome, tune
from tuning.spaces.hyperparameters import to_params
from tuning.spaces.loading import SearchSpace
from tuning.study.storage import close_study


def train_list(
    *, data: DataConfig, configurations: list[Configuration], epochs: int, seed: int, n_workers: int
) -> dict[str, Any]:
    """Train the configurations, each to its end, by a study that has them queued.

    `seconds` is the whole call: reading and splitting the data, tokenising, starting the workers
    (TensorFlow's import included), the trials and their storage. `search_seconds` begins when the
    first trial does.
    """
    train = TrainConfig(epochs=epochs, patience=epochs)  # never stopped early
    config = StudyConfig(
        study="fixed_list", space=str(SPACE_PATH), pruner="none", seed=seed, data=data, train=train
    )
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsDir(Path(folder))
        url = results.storage_url(None)

        def queue(corpus: Corpus, space: SearchSpace) -> None:
            # The study exists by now and has no trial: what is queued is what it trains, in this
            # order.
            study = optuna.load_study(study_name=config.study, storage=url)
            for values in configurations:
                study.enqueue_trial(to_params(values, space.hyperparameters))
            close_study(study)

        started = time.perf_counter()
        outcome = tune(
            config,
            results=results,
            storage_url=url,
            n_trials=len(configurations),
            n_workers=n_workers,
            on_start=queue,
        )
        seconds = time.perf_counter() - started
    trials = sorted(outcome.summary.ranked, key=lambda trial: trial.number)
    search_seconds = max(map(_end, trials)) - min(map(_start, trials))
    found = [
        {"values": t.params, "val_accuracy": t.value, "seconds": round(_end(t) - _start(t), 3)}
        for t in trials
    ]
    return {"seconds": seconds, "search_seconds": search_seconds, "trials": found}


def search(
    config: StudyConfig,
    *,
    folder: Path,
    n_trials: int,
    n_workers: int,
    timeout_seconds: float | None = None,
    on_change: Callable[[Progressed], None] = lambda progressed: None,
) -> Outcome:
    """One call of `tune` whose results go below `folder`."""
    results = ResultsDir(folder)
    return tune(
        config,
        results=results,
        storage_url=results.storage_url(None),
        n_trials=n_trials,
        n_workers=n_workers,
        timeout_seconds=timeout_seconds,
        on_change=on_change,
    )


def study_config(name: str, data: DataConfig, *, seed: int, **changes: Any) -> StudyConfig:
    """A study over the benchmarks' space with the program's own defaults, but for `changes`."""
    return replace(StudyConfig(study=name, space=str(SPACE_PATH), seed=seed, data=data), **changes)


def _start(trial: optuna.trial.FrozenTrial) -> float:
    assert trial.datetime_start is not None  # for mypy: a completed trial has both
    return trial.datetime_start.timestamp()


def _end(trial: optuna.trial.FrozenTrial) -> float:
    assert trial.datetime_complete is not None
    return trial.datetime_complete.timestamp()
