"""The coordinator's time for a trial in a small and in a large study, with fake trainings.

`tuning.search.loop.Search` runs as in a search, on SQLite in WAL mode, with TPE and ASHA. Only the
pool is fake: its worker answers each message at once. The wall time of the search is therefore the
coordinator's own: ask, suggest, report, prune, files, attributes, tell, summary.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import psutil

from benchmarks.configurations import SPACE_PATH
from benchmarks.ours import study_config
from tuning.atomic_io import write_bytes
from tuning.config import DataConfig, Limits
from tuning.data.splits import SplitReviews
from tuning.inputs.corpus import build_corpus
from tuning.report.dashboard import annotate
from tuning.results import ResultsDir
from tuning.search.events import Event, Interrupt, Progressed
from tuning.search.loop import Search
from tuning.search.session import Session
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace, declare
from tuning.study.coordinators import Coordinators
from tuning.study.storage import close_study
from tuning.study.study import open_study
from tuning.training.result import Answer, Epoch, FitResult
from tuning.workers.messages import EpochEnded, Reply, Request, Response, Train, TrainingEnded
from tuning.workers.pool import AnyPool
from tuning.workers.worker import Usage, usage_of

TRIAL_SECONDS = 10.0  # duration of a trial, with which the goal compares the coordinator's time
METRICS = (
    *("loss", "accuracy", "val_loss", "val_accuracy"),
    *("val_balanced_accuracy", "val_f1", "val_auc"),
)
FAKE_SECONDS = {"build": 0.1, "view": 0.01, "train": 9.0, "evaluate": 0.8}


def measure(*, splits: SplitReviews, n_before: int, n_trials: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsDir(Path(folder))
        config = study_config("coordinator", DataConfig(), seed=seed)
        space, epochs = declare(SPACE_PATH, n_classes=2), config.train.epochs
        study = open_study(
            results, config, space, data_fingerprint="fake", storage_url=results.storage_url(None)
        )
        study.add_trials(past_trials(n_before, space=space, epochs=epochs, seed=seed))
        events: list[float] = []  # the times of the events that are shown as lines

        def keep_time(event: Event) -> None:
            if isinstance(event, Progressed) and event.event:
                events.append(time.perf_counter())

        session = Session(
            study=study,
            config=config,
            space=space,
            space_path=SPACE_PATH,
            results=results,
            corpus=build_corpus(results.cache_dir("fake"), splits),
            pool=cast("AnyPool", FakePool(FakeWorker(epochs, np.random.default_rng(seed)))),
            limits=Limits(),
            interrupt=Interrupt(),
            subscribers=[keep_time, annotate],
        )
        search = Search(session, Coordinators(study))
        started = time.perf_counter()
        search.run(n_before + n_trials, timeout_seconds=None)
        close_study(study)
    seconds = (events[-1] - started) / n_trials
    return {"n_before": n_before, "seconds_a_trial": seconds, "share": seconds / TRIAL_SECONDS}


class FakeWorker:
    """A worker that trains nothing. Its trainings can be pruned, paused and resumed."""

    is_ready = True

    def __init__(self, epochs: int, rng: np.random.Generator) -> None:
        self.message: Response | None = None
        self._epochs, self._rng = epochs, rng
        self._history: list[Epoch] = []
        self._checkpoint = ""
        self._paused: dict[str, list[Epoch]] = {}

    def measure(self) -> Usage:
        # The coordinator's time includes this call, which takes as long for a real worker.
        return usage_of(psutil.Process())

    def send(self, message: Request) -> None:
        if isinstance(message, Train):
            self._checkpoint = message.job.checkpoint or ""
            resumes = message.job.resume
            self._history = self._paused.pop(self._checkpoint, []) if resumes else []
            self._train_epoch()
        elif isinstance(message, Reply):
            if message.answer is Answer.GO_ON and len(self._history) < self._epochs:
                self._train_epoch()
            else:
                self._end(message.answer)

    def _train_epoch(self) -> None:
        self._history.append(Epoch(len(self._history) + 1, fake_metrics(self._rng), 2.0))
        self.message = EpochEnded(self._history[-1])

    def _end(self, answer: Answer) -> None:
        best = max(self._history, key=lambda epoch: epoch.metrics["val_accuracy"])
        result = FitResult(
            history=self._history,
            best_epoch=best.number,
            best_value=best.metrics["val_accuracy"],
            metrics=best.metrics,
            seconds=dict(FAKE_SECONDS),
        )
        result.stopped, result.paused = answer is not Answer.GO_ON, answer is Answer.PAUSE
        if result.paused:
            self._paused[self._checkpoint] = self._history
            # A worker writes the checkpoint, not the coordinator: its content does not matter.
            write_bytes(Path(self._checkpoint), b"a checkpoint's place")
        self.message = TrainingEnded(result)


class FakePool:
    """A pool with one fake worker."""

    max_trainings = None

    def __init__(self, worker: FakeWorker) -> None:
        self.workers = [worker]

    def wait(self, timeout_seconds: float) -> list[tuple[FakeWorker, Response | None]]:
        (worker,) = self.workers
        answer, worker.message = worker.message, None
        return [(worker, answer)] if answer else []

    def threads_of_each(self, n_jobs: int) -> None:
        """Return None: a fake worker has no kernels."""


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
