"""Workers that train nothing: they send the messages of a worker at the times of a clock."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import optuna
import psutil

from benchmarks.configurations import SPACE_PATH
from tuning.atomic_io import write_bytes
from tuning.config import Limits, StudyConfig
from tuning.data.corpus import Corpus
from tuning.report.dashboard import DashboardDrawing
from tuning.results import ResultsDir
from tuning.search.session import Interrupt, Session
from tuning.spaces.loading import SearchSpace
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob
from tuning.workers.messages import EpochEnded, Reply, Request, Response, Train, TrainingEnded
from tuning.workers.pool import AnyPool
from tuning.workers.worker import Usage, usage_of

METRICS = (
    *("loss", "accuracy", "val_loss", "val_accuracy"),
    *("val_balanced_accuracy", "val_f1", "val_auc"),
)
FAKE_SECONDS = {"build": 0.1, "view": 0.01, "train": 9.0, "evaluate": 0.8}


def fake_metrics(rng: np.random.Generator) -> dict[str, float]:
    """Return random values of the metrics of an epoch."""
    return dict(zip(METRICS, rng.uniform(0.5, 0.9, len(METRICS)).tolist(), strict=True))


def fake_result(history: list[Epoch]) -> FitResult:
    """Return the result of a training with these epochs."""
    best = max(history, key=lambda epoch: epoch.metrics["val_accuracy"])
    return FitResult(
        history=history,
        best_epoch=best.number,
        best_value=best.metrics["val_accuracy"],
        metrics=best.metrics,
        seconds=dict(FAKE_SECONDS),
    )


@dataclass
class Clock:
    """The machine's clock plus the time that was skipped."""

    skipped: float = 0.0

    def now(self) -> float:
        """Return the time in seconds."""
        return time.perf_counter() + self.skipped

    def skip_to(self, moment: float) -> None:
        """Advance the clock to `moment` if this time is not over."""
        self.skipped += max(moment - self.now(), 0.0)


class FakeWorker:
    """A worker whose trainings take `trial_seconds` of the clock.

    A training can't be pruned or paused: an answer other than `GO_ON` completes it.
    """

    def __init__(
        self, clock: Clock, *, epochs: int, rng: np.random.Generator, trial_seconds: float
    ) -> None:
        self.is_ready = True
        self.idle_seconds = self.busy_seconds = 0.0
        self.first_idle_seconds: float | None = None
        self.message: Response | None = None
        self.due = self._sent = clock.now()
        self._clock, self._epochs, self._rng = clock, epochs, rng
        self._start_seconds, self._epoch_seconds = 0.0, trial_seconds / epochs
        self._history: list[Epoch] = []

    def measure(self) -> Usage:
        """Return the memory and CPU time of this process, which costs the coordinator as much as
        for a real worker.
        """
        return usage_of(psutil.Process())

    def idle_until(self, moment: float) -> float:
        """Return the idle seconds until a time, with the seconds since a message without an
        answer.
        """
        return self.idle_seconds + max(moment - self._sent, 0.0)

    def send(self, message: Request) -> None:
        """Set the next message of the worker, and the time at which the pool returns it."""
        self.idle_seconds += self._clock.now() - self._sent
        if self.first_idle_seconds is None:
            self.first_idle_seconds = self.idle_seconds
        if isinstance(message, Train):
            self._begin(message.job)
        elif isinstance(message, Reply):
            if message.answer is Answer.GO_ON and len(self._history) < self._epochs:
                self._train_epoch()
            else:
                self._end(message.answer)

    def _begin(self, job: TrainingJob) -> None:
        self._history = []
        self._train_epoch(start_seconds=self._start_seconds)

    def _train_epoch(self, *, start_seconds: float = 0.0) -> None:
        self._history.append(self._epoch(len(self._history) + 1))
        self._answer(EpochEnded(self._history[-1]), after=start_seconds + self._epoch_seconds)

    def _epoch(self, number: int) -> Epoch:
        return Epoch(number, fake_metrics(self._rng), 2.0)

    def _end(self, answer: Answer) -> None:
        self._answer(TrainingEnded(fake_result(self._history)), after=0.0)

    def _answer(self, message: Response, *, after: float) -> None:
        self.busy_seconds += after
        self.message, self.due = message, self._clock.now() + after
        self._sent = self.due


class PausingWorker(FakeWorker):
    """A worker whose trainings can be pruned and paused.

    Args:
        paused: the epochs of the paused trainings, by the path of the checkpoint. Workers that
            share this dictionary can resume each other's trainings.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        epochs: int,
        rng: np.random.Generator,
        trial_seconds: float,
        paused: dict[str, list[Epoch]],
    ) -> None:
        super().__init__(clock, epochs=epochs, rng=rng, trial_seconds=trial_seconds)
        self._paused, self._checkpoint = paused, ""

    def _begin(self, job: TrainingJob) -> None:
        self._checkpoint = job.checkpoint or ""
        self._history = self._paused.pop(self._checkpoint, []) if job.resume else []
        self._train_epoch(start_seconds=self._start_seconds)

    def _end(self, answer: Answer) -> None:
        result = fake_result(self._history)
        result.stopped = answer is not Answer.GO_ON
        if answer is Answer.PAUSE:
            result.paused = True
            self._paused[self._checkpoint] = self._history
            # A worker writes the checkpoint, not the coordinator: its content does not matter.
            write_bytes(Path(self._checkpoint), b"a checkpoint's place")
        self._answer(TrainingEnded(result), after=0.0)


@dataclass
class FakePool:
    """A pool of fake workers, whose messages arrive in the order of the clock."""

    workers: Sequence[FakeWorker]
    clock: Clock
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def wait(self, timeout_seconds: float) -> list[tuple[FakeWorker, Response | None]]:
        """Skip to the next message if `timeout_seconds` is not 0, and return the messages that are
        due.
        """
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
        """Return None: fake workers have no kernels."""

    @property
    def max_trainings(self) -> None:
        """None: fake workers need no memory."""


def fake_session(
    study: optuna.Study,
    config: StudyConfig,
    space: SearchSpace,
    *,
    corpus: Corpus,
    results: ResultsDir,
    pool: FakePool,
) -> Session:
    """Return a session of a search whose workers are fake."""
    return Session(
        study=study,
        config=config,
        space=space,
        space_path=SPACE_PATH,
        results=results,
        corpus=corpus,
        pool=cast("AnyPool", pool),
        limits=Limits(),
        interrupt=Interrupt(),
        drawing=DashboardDrawing(),
    )
