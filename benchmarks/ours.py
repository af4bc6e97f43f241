"""This program's side of the comparisons: calls of `tune` with an empty results folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from benchmarks.configurations import SPACE_PATH, Configuration
from benchmarks.processes import cpu_seconds
from tuning.config import DataConfig, StudyConfig, TrainConfig, Workers
from tuning.results import ResultsDir
from tuning.search.events import Event, Outcome, SearchStarted, Subscriber
from tuning.search.tune import Budget, tune
from tuning.spaces.hyperparameters import to_params
from tuning.study.trials import values_of


def study_config(name: str, data: DataConfig, *, seed: int, **changes: Any) -> StudyConfig:
    return replace(StudyConfig(study=name, space=str(SPACE_PATH), seed=seed, data=data), **changes)


def search(
    config: StudyConfig,
    *,
    folder: Path,
    n_workers: int,
    budget: Budget,
    subscribers: Sequence[Subscriber] = (),
) -> Outcome:
    results = ResultsDir(folder)
    return tune(
        config,
        results,
        storage_url=results.storage_url(None),
        budget=budget,
        workers=Workers(n_workers=n_workers),
        subscribers=subscribers,
    )


def train_list(
    *,
    data: DataConfig,
    configurations: list[Configuration],
    epochs: int,
    seed: int,
    n_workers: int,
    space: Path = SPACE_PATH,
) -> dict[str, Any]:
    """Train the configurations, each for all epochs, as queued trials of a study.

    `seconds` and `cpu_seconds` are those of the whole call with all its processes, from reading
    the data; `search_seconds` begin with the first trial.
    """
    config = study_config(
        "fixed_list",
        data,
        seed=seed,
        space=str(space),
        pruner="none",
        train=TrainConfig(epochs=epochs, patience=epochs),  # never stopped early
    )
    with tempfile.TemporaryDirectory() as folder:

        def queue(event: Event) -> None:
            # The study has no trials when the search starts, so it trains the queued trials, in
            # this order.
            if isinstance(event, SearchStarted):
                for values in configurations:
                    params = to_params(values, event.opened.space.hyperparameters)
                    event.opened.study.enqueue_trial(params)

        started, cpu_started = time.perf_counter(), cpu_seconds()
        outcome = search(
            config,
            folder=Path(folder),
            n_workers=n_workers,
            budget=Budget(n_trials=len(configurations)),
            subscribers=[queue],
        )
        seconds, cpu_used = time.perf_counter() - started, cpu_seconds() - cpu_started
    trials = sorted(outcome.summary.ranked, key=lambda trial: trial.number)
    spans = [_span(trial) for trial in trials]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_used,
        "search_seconds": max(end for _, end in spans) - min(start for start, _ in spans),
        "trials": [
            {
                "values": values_of(trial, outcome.space),
                "val_accuracy": trial.value,
                "seconds": round(end - start, 3),
            }
            for trial, (start, end) in zip(trials, spans, strict=True)
        ],
    }


def _span(trial: optuna.trial.FrozenTrial) -> tuple[float, float]:
    assert trial.datetime_start and trial.datetime_complete  # for mypy
    return trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()
