"""This program's side of the comparisons: calls of `tune` with an empty results folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from benchmarks.configurations import SPACE_PATH, Configuration
from benchmarks.processes import cpu_seconds
from tuning.config import DataConfig, StudyConfig, TrainConfig, Workers
from tuning.data.corpus import Corpus
from tuning.results import ResultsDir
from tuning.search.progress import Progressed
from tuning.search.tune import Budget, Outcome, TuneHooks, tune
from tuning.spaces.hyperparameters import to_params
from tuning.spaces.loading import SearchSpace
from tuning.study.storage import close_study
from tuning.study.trials import values_of


def train_list(
    *,
    data: DataConfig,
    configurations: list[Configuration],
    epochs: int,
    seed: int,
    n_workers: int,
    space: str = str(SPACE_PATH),
) -> dict[str, Any]:
    """Train the configurations, each for all epochs, as queued trials of a study.

    Returns:
        `seconds` of the whole call: reading and splitting the data, tokenizing, starting the
        workers (with TensorFlow's import), the trials and their storage; `cpu_seconds` of the call
        with all its processes; `search_seconds` from the start of the first trial to the end of the
        last; and the `trials`.
    """
    train = TrainConfig(epochs=epochs, patience=epochs)  # never stopped early
    config = StudyConfig(
        study="fixed_list", space=space, pruner="none", seed=seed, data=data, train=train
    )
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsDir(Path(folder))
        url = results.storage_url(None)

        def queue(corpus: Corpus, space: SearchSpace) -> None:
            # The study exists at this point and has no trials, so it trains the queued trials, in
            # this order.
            study = optuna.load_study(study_name=config.study, storage=url)
            for values in configurations:
                study.enqueue_trial(to_params(values, space.hyperparameters))
            close_study(study)

        started, cpu_started = time.perf_counter(), cpu_seconds()
        outcome = tune(
            config,
            results,
            storage_url=url,
            budget=Budget(n_trials=len(configurations)),
            workers=Workers(n_workers=n_workers),
            hooks=TuneHooks(on_start=queue),
        )
        seconds, cpu_used = time.perf_counter() - started, cpu_seconds() - cpu_started
    return {"seconds": seconds, "cpu_seconds": cpu_used, **_trained(outcome)}


def _trained(outcome: Outcome) -> dict[str, Any]:
    """Return `search_seconds` and `trials` of `train_list`."""
    trials = sorted(outcome.summary.ranked, key=lambda trial: trial.number)
    return {
        "search_seconds": max(map(_end, trials)) - min(map(_start, trials)),
        "trials": [
            {
                "values": values_of(trial, outcome.space),
                "val_accuracy": trial.value,
                "seconds": round(_end(trial) - _start(trial), 3),
            }
            for trial in trials
        ],
    }


def search(
    config: StudyConfig,
    *,
    folder: Path,
    n_trials: int,
    n_workers: int,
    timeout_seconds: float | None = None,
    on_change: Callable[[Progressed], None] = lambda progressed: None,
) -> Outcome:
    """Call `tune` once with `folder` as the results folder, and return its outcome."""
    results = ResultsDir(folder)
    return tune(
        config,
        results,
        storage_url=results.storage_url(None),
        budget=Budget(n_trials=n_trials, timeout_seconds=timeout_seconds),
        workers=Workers(n_workers=n_workers),
        hooks=TuneHooks(on_change=on_change),
    )


def study_config(name: str, data: DataConfig, *, seed: int, **changes: Any) -> StudyConfig:
    """Return a study of the benchmarks' search space, with the defaults of `tune` except for
    `changes`.
    """
    return replace(StudyConfig(study=name, space=str(SPACE_PATH), seed=seed, data=data), **changes)


def _start(trial: optuna.trial.FrozenTrial) -> float:
    assert trial.datetime_start is not None  # for mypy: a completed trial has both
    return trial.datetime_start.timestamp()


def _end(trial: optuna.trial.FrozenTrial) -> float:
    assert trial.datetime_complete is not None
    return trial.datetime_complete.timestamp()
