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
import heapq
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.configurations import SPACE_PATH
from benchmarks.coordinator import (
    fake_metrics,
    fake_result,
    fake_reviews,
    fake_session,
    past_trials,
)
from benchmarks.goals import figures
from benchmarks.ours import study_config
from benchmarks.processes import in_fresh_process
from benchmarks.settings import Settings
from benchmarks.tabulated import SETS, bounded_history
from tuning.config import DataConfig
from tuning.data.corpus import build_corpus
from tuning.data.splits import SplitReviews
from tuning.results import ResultsDir
from tuning.search.loop import Search
from tuning.spaces.loading import declare
from tuning.study.coordinators import Coordinators
from tuning.study.storage import close_study
from tuning.study.study import open_study
from tuning.training.result import Answer, Epoch
from tuning.workers.messages import EpochEnded, Reply, Request, Response, Train, TrainingEnded
from tuning.workers.worker import Usage, usage_of

TRIAL_SECONDS = 60.0
N_WORKERS = (1, 10, 100, 300, 1000)
N_TRIALS = 10_000  # number of trials of the study, of which the last ones are measured
TRIALS_A_WORKER = 10  # number of measured trials per worker
MEASURED = (60, 1000)  # minimum and maximum number of measured trials
N_GOAL_WORKERS = 100
N_SEARCHES = 6  # number of searches on each data set, both with all trials fitted and with a part
N_SEARCHED = 200  # number of trials of a search


@dataclass
class Clock:
    """The machine's clock plus the time that was skipped."""

    skipped: float = 0.0

    def now(self) -> float:
        return time.perf_counter() + self.skipped

    def skip_to(self, moment: float) -> None:
        self.skipped += max(moment - self.now(), 0.0)


class FakeWorker:
    """Trains by advancing the clock, and sends a worker's messages."""

    def __init__(
        self,
        clock: Clock,
        *,
        epochs: int,
        rng: np.random.Generator,
        trial_seconds: float = TRIAL_SECONDS,
    ) -> None:
        self.is_ready = True
        self.idle_seconds = self.busy_seconds = 0.0
        self.first_idle_seconds: float | None = None
        self.message: Response | None = None
        self.due = self._sent = clock.now()
        self._clock, self._epochs, self._rng = clock, epochs, rng
        self._epoch_seconds = trial_seconds / epochs
        self._history: list[Epoch] = []

    def measure(self) -> Usage:
        return usage_of(psutil.Process())  # costs the coordinator as much as for a real worker

    def idle_until(self, moment: float) -> float:
        """The idle seconds until this moment, with those since a message that has no answer yet."""
        return self.idle_seconds + max(moment - self._sent, 0.0)

    def send(self, message: Request) -> None:
        now = self._clock.now()
        self.idle_seconds += now - self._sent
        if self.first_idle_seconds is None:
            self.first_idle_seconds = self.idle_seconds
        if isinstance(message, Train):
            self._history = []
        goes_on = not isinstance(message, Reply) or message.answer is Answer.GO_ON
        if goes_on and len(self._history) < self._epochs:
            self._history.append(Epoch(len(self._history) + 1, fake_metrics(self._rng), 2.0))
            self._answer(EpochEnded(self._history[-1]), after=self._epoch_seconds)
        else:
            self._answer(TrainingEnded(fake_result(self._history)), after=0.0)

    def _answer(self, message: Response, *, after: float) -> None:
        self.busy_seconds += after
        self.message, self.due = message, self._clock.now() + after
        self._sent = self.due


@dataclass
class FakePool:
    """A pool of fake workers, whose messages arrive in the order of the clock."""

    workers: list[FakeWorker]
    clock: Clock
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def wait(self, timeout_seconds: float) -> list[tuple[FakeWorker, Response | None]]:
        waiting = [
            (worker.due, next(self._order), worker) for worker in self.workers if worker.message
        ]
        heapq.heapify(waiting)
        if waiting and timeout_seconds:
            self.clock.skip_to(waiting[0][0])
        ready = []
        now = self.clock.now()
        while waiting and waiting[0][0] <= now:
            worker = heapq.heappop(waiting)[2]
            ready.append((worker, worker.message))
            worker.message = None
        return ready

    def threads_of_each(self, n_jobs: int) -> None:
        """Fake workers have no kernels."""


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """The idle share of the workers' time, for each number of workers."""
    n_trials, counts = settings.size((N_TRIALS, N_WORKERS), tiny=(40, (1, 3)))
    simulations = []
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "stored"
        least, most = settings.size(MEASURED, tiny=(4, 8))
        show(f"a study of {n_trials:,} trials")
        n_before = max(n_trials - most, 10)
        in_fresh_process(
            store, log_path=settings.log_path, folder=stored, n_before=n_before, seed=settings.seed
        )
        for n_workers in counts:
            show(f"{n_workers:,} workers")
            arguments = {
                "stored": stored,
                "n_before": n_before,
                "n_workers": n_workers,
                "seed": settings.seed,
            }
            n_measured = min(max(n_workers * TRIALS_A_WORKER, least), most)
            simulations.append(
                in_fresh_process(
                    simulate, log_path=settings.log_path, n_measured=n_measured, **arguments
                )
            )
    show("the cost of fitting TPE to a part of the trials")
    n_searches, n_searched = settings.size((N_SEARCHES, N_SEARCHED), tiny=(2, 20))
    bounded = [
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
    idle = max(s["idle_share"] for s in simulations if s["n_workers"] <= N_GOAL_WORKERS)
    return {
        **figures({"idle_share_100_workers": idle}),
        "simulations": simulations,
        "bounded_history": bounded,
    }


def store(*, folder: Path, n_before: int, seed: int) -> dict[str, Any]:
    """Write a study of `n_before` finished trials to `folder`."""
    results = ResultsDir(folder)
    config = dataclasses.replace(study_config("scale_out", DataConfig(), seed=seed), pruner="none")
    space = declare(SPACE_PATH, n_classes=2)
    build_corpus(results.cache_dir("fake"), fake_reviews())
    study = open_study(
        results, config, space, data_fingerprint="fake", storage_url=results.storage_url(None)
    )
    study.add_trials(past_trials(n_before, space=space, epochs=config.train.epochs, seed=seed))
    close_study(study)
    return {}


def simulate(
    *, stored: Path, n_before: int, n_workers: int, n_measured: int, seed: int
) -> dict[str, Any]:
    """Continue a copy of the study until `n_measured` more trials are finished."""
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsDir(Path(folder) / "results")
        shutil.copytree(stored, results.path)
        config = dataclasses.replace(
            study_config("scale_out", DataConfig(), seed=seed), pruner="none"
        )
        space = declare(SPACE_PATH, n_classes=2)
        corpus = build_corpus(results.cache_dir("fake"), fake_reviews())
        study = open_study(
            results, config, space, data_fingerprint="fake", storage_url=results.storage_url(None)
        )
        clock, rng = Clock(), np.random.default_rng(seed)
        workers = [FakeWorker(clock, epochs=config.train.epochs, rng=rng) for _ in range(n_workers)]
        session = fake_session(
            study,
            config,
            space,
            corpus=corpus,
            results=results,
            pool=FakePool(workers, clock),
        )
        running = Search(session, Coordinators(study, n_workers=n_workers))
        started, began = time.perf_counter(), clock.now()
        running.run(n_before + n_measured, timeout_seconds=None)
        coordinator_seconds, seconds = time.perf_counter() - started, clock.now() - began
        close_study(study)
    # At the end of a study no trial is left for some workers. That time is not in `idle_seconds`,
    # because no message waits for an answer then.
    idle, busy = sum(w.idle_seconds for w in workers), sum(w.busy_seconds for w in workers)
    later = idle - sum(w.first_idle_seconds or 0.0 for w in workers)
    # Workers that never got a trial were idle all the time.
    idle += sum(seconds for w in workers if w.first_idle_seconds is None)
    return {
        "n_workers": n_workers,
        "n_before": n_before,
        "n_measured": n_measured,
        "idle_share": idle / (idle + busy),
        "idle_share_later": later / (later + busy),
        "coordinator_busy_share": coordinator_seconds / seconds,
        "coordinator_seconds_a_trial": coordinator_seconds / n_measured,
        "simulated_seconds": seconds,
    }
