"""The number of workers that one coordinator keeps busy, by simulation, and the cost of fitting TPE
to a part of a large study's trials.

`tuning.search.loop.Search` runs as in a study, on SQLite, with TPE; only its workers are fake. The
simulated clock is the machine's clock while the coordinator works, and jumps to the next message of
a worker while the coordinator waits. A training thus takes 60 s of the simulated clock and no real
time, and the coordinator's own time is measured. A worker is idle from the time at which it sends a
message to the time at which it receives the answer.

Only the end of a study is simulated: the study begins with `n_before` finished trials, and each
worker trains a few more. At the start of the call all workers need a trial at once, which matters
less in a whole study: `idle_share_later` does not count this first wait.

The cost of fitting TPE to a part of the trials is measured on tabulated trainings
(`benchmarks.tabulated`).
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.configurations import SPACE_PATH
from benchmarks.coordinator import fake_reviews, past_trials
from benchmarks.fake_workers import Clock, FakePool, FakeWorker, fake_session
from benchmarks.goals import figures
from benchmarks.ours import study_config
from benchmarks.processes import in_fresh_process
from benchmarks.settings import Settings
from benchmarks.sides import sides_of
from benchmarks.tabulated import SETS, bounded_history
from tuning.config import DataConfig, StudyConfig
from tuning.data.corpus import Corpus, build_corpus
from tuning.data.splits import SplitReviews
from tuning.results import ResultsDir
from tuning.search.loop import Search
from tuning.spaces.loading import SearchSpace, declare
from tuning.study.coordinators import Coordinators
from tuning.study.storage import close_study
from tuning.study.study import open_study

TRIAL_SECONDS = 60.0
N_WORKERS = (1, 10, 100, 300, 1000)
N_TRIALS = 10_000  # number of trials of the study, of which the last ones are measured
TRIALS_A_WORKER = 10  # number of measured trials per worker
MEASURED = (60, 1000)  # minimum and maximum number of measured trials
N_GOAL_WORKERS = 100
N_SEARCHES = 6  # number of searches on each data set, both with all trials fitted and with a part
N_SEARCHED = 200  # number of trials of a search


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """Return the idle share of the workers' time for each number of workers, and the regrets of
    searches that fit all trials or a part of them.
    """
    sides = sides_of(settings, show=show)
    simulations = sides.measure("the coordinator", partial(_simulations, settings, show=show))
    idle = max(s["idle_share"] for s in simulations if s["n_workers"] <= N_GOAL_WORKERS)
    return {
        **figures({"idle_share_100_workers": idle}),
        "simulations": simulations,
        "bounded_history": _bounded_histories(settings, show=show),
        "noise": sides.record(),
    }


def _simulations(settings: Settings, *, show: Callable[[str], None]) -> list[dict[str, Any]]:
    n_trials, counts = settings.size((N_TRIALS, N_WORKERS), tiny=(40, (1, 3)))
    lowest, highest = settings.size(MEASURED, tiny=(4, 8))
    n_before = max(n_trials - highest, 10)
    simulations = []
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "stored"
        show(f"a study of {n_trials:,} trials")
        in_fresh_process(
            store, log_path=settings.log_path, folder=stored, n_before=n_before, seed=settings.seed
        )
        for n_workers in counts:
            show(f"{n_workers:,} workers")
            arguments = {
                "stored": stored,
                "n_before": n_before,
                "n_workers": n_workers,
                "n_measured": min(max(n_workers * TRIALS_A_WORKER, lowest), highest),
                "seed": settings.seed,
            }
            simulations.append(in_fresh_process(simulate, log_path=settings.log_path, **arguments))
    return simulations


def _bounded_histories(settings: Settings, *, show: Callable[[str], None]) -> list[dict[str, Any]]:
    show("the cost of fitting TPE to a part of the trials")
    n_searches, n_searched = settings.size((N_SEARCHES, N_SEARCHED), tiny=(2, 20))
    return [
        in_fresh_process(
            bounded_history,
            log_path=settings.log_path,
            family=family,
            name=name,
            n_searches=n_searches,
            n_searched=n_searched,
        )
        for family, name in SETS[: settings.size(len(SETS), tiny=1)]
    ]


def _open_study(
    results: ResultsDir, *, seed: int
) -> tuple[optuna.Study, StudyConfig, SearchSpace, Corpus]:
    """Open or create the study, with its settings, search space and data."""
    config = dataclasses.replace(study_config("scale_out", DataConfig(), seed=seed), pruner="none")
    space = declare(SPACE_PATH, n_classes=2)
    corpus = build_corpus(results.cache_dir("fake"), fake_reviews())
    study = open_study(
        results, config, space, data_fingerprint="fake", storage_url=results.storage_url(None)
    )
    return study, config, space, corpus


def store(*, folder: Path, n_before: int, seed: int) -> None:
    """Write a study of `n_before` finished trials to `folder`."""
    study, config, space, _ = _open_study(ResultsDir(folder), seed=seed)
    study.add_trials(past_trials(n_before, space=space, epochs=config.train.epochs, seed=seed))
    close_study(study)


def simulate(
    *, stored: Path, n_before: int, n_workers: int, n_measured: int, seed: int
) -> dict[str, Any]:
    """Continue a copy of the study until `n_measured` more trials are finished.

    Returns:
        The idle shares of the workers, and the time of the coordinator.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsDir(Path(folder) / "results")
        shutil.copytree(stored, results.path)
        study, config, space, corpus = _open_study(results, seed=seed)
        clock, rng = Clock(), np.random.default_rng(seed)
        workers = [
            FakeWorker(clock, epochs=config.train.epochs, rng=rng, trial_seconds=TRIAL_SECONDS)
            for _ in range(n_workers)
        ]
        pool = FakePool(workers, clock)
        session = fake_session(study, config, space, corpus=corpus, results=results, pool=pool)
        search = Search(session, Coordinators(study, n_workers=n_workers))
        started, began = time.perf_counter(), clock.now()
        search.run(n_before + n_measured, timeout_seconds=None)
        coordinator_seconds, seconds = time.perf_counter() - started, clock.now() - began
        close_study(study)
    return {
        "n_workers": n_workers,
        "n_before": n_before,
        "n_measured": n_measured,
        **_idle_shares(workers, seconds=seconds),
        "coordinator_busy_share": coordinator_seconds / seconds,
        "coordinator_seconds_a_trial": coordinator_seconds / n_measured,
        "simulated_seconds": seconds,
    }


def _idle_shares(workers: Sequence[FakeWorker], *, seconds: float) -> dict[str, float]:
    """Return the idle share of the workers' time in a search of `seconds`, with and without each
    worker's wait for its first trial.
    """
    # At the end of a study no trial is left for some workers. That time is not in `idle_seconds`,
    # because no message waits for an answer then.
    idle, busy = sum(w.idle_seconds for w in workers), sum(w.busy_seconds for w in workers)
    later = idle - sum(w.first_idle_seconds or 0.0 for w in workers)
    # Workers that never got a trial were idle all the time.
    idle += sum(seconds for w in workers if w.first_idle_seconds is None)
    return {"idle_share": idle / (idle + busy), "idle_share_later": later / (later + busy)}
