"""This program's search and confirmation, replayed on a table of measured trainings.

`tuning.search` runs as in a study, on SQLite. Only its workers are fake, and the clock is theirs: a
training gives the epochs, and takes the seconds, of the nearest measured training.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pandas as pd

from benchmarks.coordinator import METRICS
from benchmarks.curves import Noise, Table, Training
from tuning.atomic_io import write_bytes
from tuning.config import DataConfig, Limits, StudyConfig
from tuning.data.sources import load_reviews
from tuning.data.splits import SplitReviews, split_reviews
from tuning.inputs.corpus import build_corpus
from tuning.metrics import sign
from tuning.results import ResultsDir
from tuning.search.confirm import MIN_COMPLETE, confirm_within, n_confirmable
from tuning.search.events import Interrupt
from tuning.search.loop import Search
from tuning.search.session import Session
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values
from tuning.spaces.starting_points import with_choice
from tuning.study.coordinators import Coordinators
from tuning.study.storage import close_study
from tuning.study.study import open_study
from tuning.study.summary import best_of, summarize
from tuning.study.trials import busy_seconds, seconds_of, values_of
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob
from tuning.workers.messages import EpochEnded, Reply, Request, Response, Train, TrainingEnded
from tuning.workers.pool import AnyPool


class ReplayWorker:
    """A worker that sends the epochs of the nearest measured training."""

    is_ready = True

    def __init__(self, pool: ReplayPool) -> None:
        self.due, self.message = 0.0, cast("Response | None", None)
        self._pool = pool
        self._epochs: list[Epoch] = []  # all epochs that the training can have
        self._n_ended, self._n_starts = 0, 0
        self._training: Training
        self._checkpoint = ""

    def measure(self) -> None:
        """Return None: the limits of a trial don't apply."""

    def send(self, message: Request) -> None:
        self.due = self._pool.now
        if isinstance(message, Train):
            self._begin(message.job)
        elif isinstance(message, Reply):
            if message.answer is Answer.GO_ON and self._n_ended < len(self._epochs):
                self._end_epoch()
            else:
                self._end(message.answer)

    def _begin(self, job: TrainingJob) -> None:
        pool, self._checkpoint = self._pool, job.checkpoint or ""
        self._training = pool.table.nearest(job.values, pool.space)
        curve = pool.noise.curve(self._training, seed=job.seed)
        self._epochs = [
            Epoch(
                number,
                {**dict.fromkeys(METRICS, 0.5), pool.table.metric: value},
                self._training.epoch_seconds,
            )
            for number, value in enumerate(curve, start=self._training.first_epoch)
            if job.n_epochs is None or number <= job.n_epochs
        ]
        self._n_ended, self._n_starts = pool.paused.pop(self._checkpoint, (0, 0))
        self._n_starts += 1
        self.due += self._training.start_seconds
        if self._n_ended < len(self._epochs):
            self._end_epoch()
        else:  # The measured training ended early at the rung at which the trial was paused.
            self._end(Answer.GO_ON)

    def _end_epoch(self) -> None:
        epoch = self._epochs[self._n_ended]
        self._n_ended += 1
        self.due += epoch.seconds * (epoch.number > 0)
        self.message = EpochEnded(epoch)

    def _end(self, answer: Answer) -> None:
        history, metric = self._epochs[: self._n_ended], self._pool.table.metric
        best = max(history, key=lambda epoch: sign(metric) * epoch.metrics[metric])
        result = FitResult(
            history=history,
            best_epoch=best.number,
            best_value=best.metrics[metric],
            metrics=best.metrics,
            stopped=answer is not Answer.GO_ON,
            paused=answer is Answer.PAUSE,
            seconds={
                "build": self._n_starts * self._training.start_seconds,
                "train": history[-1].number * self._training.epoch_seconds,
            },
        )
        if result.paused:
            self._pool.paused[self._checkpoint] = self._n_ended, self._n_starts
            # A worker writes the checkpoint, not the coordinator: its content does not matter.
            write_bytes(Path(self._checkpoint), b"a checkpoint's place")
        self.message = TrainingEnded(result)


class ReplayPool:
    """A pool whose messages arrive in the order of its clock."""

    max_trainings = None

    def __init__(self, table: Table, space: SearchSpace, *, n_workers: int, noise: Noise) -> None:
        self.table, self.space, self.noise = table, space, noise
        self.now = 0.0
        # The number of ended epochs and of starts of each paused training, by its checkpoint.
        self.paused: dict[str, tuple[int, int]] = {}
        self.workers = [ReplayWorker(self) for _ in range(n_workers)]

    def wait(self, timeout_seconds: float) -> list[tuple[ReplayWorker, Response | None]]:
        """Return the earliest message, and set the clock to its time. While the search may give
        work to a free worker (`timeout_seconds` is 0), only messages of this moment are returned.
        """
        waiting = [worker for worker in self.workers if worker.message]
        if not waiting:
            return []
        worker = min(waiting, key=lambda worker: worker.due)
        if worker.due > self.now and not timeout_seconds:
            return []
        self.now = max(self.now, worker.due)
        message, worker.message = worker.message, None
        return [(worker, message)]

    def threads_of_each(self, n_jobs: int) -> None:
        """Return None: a fake worker has no kernels."""


def search_and_confirm(
    table: Table,
    space: SearchSpace,
    *,
    seed: int,
    n_trials: int,
    n_workers: int,
    noise: Noise,
    **changes: Any,
) -> dict[str, Any]:
    """Search with the defaults of `tune` except for `changes`, and confirm.

    Returns:
        `chosen`, the number of the measured training that is nearest to the confirmed best;
        `worker_seconds` of the search with the confirmation; `confirmation`, its share of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        results, space_path = ResultsDir(Path(folder)), find_space(table.space)
        space = _with_choice(space, table.choice)
        config = StudyConfig(
            study="replay", space=table.space, seed=seed, metric=table.metric, **changes
        )
        corpus = build_corpus(
            results.cache_dir("fake"), _fake_splits(results.path, table.n_classes)
        )
        study = open_study(
            results, config, space, data_fingerprint="fake", storage_url=results.storage_url(None)
        )
        pool = ReplayPool(table, space, n_workers=n_workers, noise=noise)
        session = Session(
            study=study,
            config=config,
            space=space,
            space_path=space_path,
            results=results,
            corpus=corpus,
            pool=cast("AnyPool", pool),
            limits=Limits(),
            interrupt=Interrupt(),
        )
        search = Search(session, Coordinators(study, n_workers=n_workers))
        search.run(n_trials, timeout_seconds=None)
        summary = summarize(study, metric=table.metric)
        is_confirmable = n_confirmable(summary) >= MIN_COMPLETE
        confirmation = confirm_within(session) if is_confirmable else None
        best = best_of(summary, confirmation)
        assert best is not None  # for mypy: a search ends with a complete trial
        close_study(study)
    searched = sum(busy_seconds(seconds_of(trial)) for trial in summary.trials)
    confirmed = confirmation.spent_seconds if confirmation else 0.0
    return {
        "chosen": table.nearest(values_of(best.trial, space), space).number,
        "worker_seconds": searched + confirmed,
        "confirmation": confirmed / (searched + confirmed),
    }


def _with_choice(space: SearchSpace, choice: Values) -> SearchSpace:
    """Return the space with the n-grams of the linear model, which is not trained here, in the
    starting points that get them.
    """
    points = enumerate(space.starting_points, start=1)
    return replace(
        space,
        starting_points=tuple(
            with_choice(point, space.hyperparameters, choice if n in space.linear_points else {})
            for n, point in points
        ),
        linear_points=(),
    )


def _fake_splits(folder: Path, n_classes: int) -> SplitReviews:
    # No fake worker reads the texts.
    texts = [f"word{number}" for number in range(50 * n_classes)]
    labels = [f"class{number % n_classes}" for number in range(len(texts))]
    path = folder / "reviews.csv"
    pd.DataFrame({"text": texts, "label": labels}).to_csv(path, index=False)
    return split_reviews(load_reviews(DataConfig(data=str(path))), seed=0)
