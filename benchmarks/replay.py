"""This program's search and confirmation, replayed on a table of measured trainings.

`tuning.search` runs as in a study, on SQLite. Only its workers are fake, and the clock is theirs: a
training gives the epochs, and takes the seconds, of the nearest measured training.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import psutil

from benchmarks.curves import Noise, Table
from tuning.atomic_io import write_bytes
from tuning.config import Limits, StudyConfig
from tuning.data.sources import Reviews
from tuning.data.splits import SplitReviews, split_reviews
from tuning.inputs.corpus import build_corpus
from tuning.metrics import sign
from tuning.results import ResultsDir
from tuning.search.confirm import confirm_within
from tuning.search.events import Interrupt, Subscriber
from tuning.search.loop import Search
from tuning.search.session import Session
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values
from tuning.spaces.starting_points import with_choice
from tuning.study.storage import close_study
from tuning.study.study import open_study
from tuning.study.summary import MIN_COMPLETE, best_of, summarize
from tuning.study.trials import busy_seconds, seconds_of, values_of
from tuning.targets.classes import Classes
from tuning.training.result import Answer, Epoch, FitResult, TrainingJob
from tuning.workers.messages import EpochEnded, Reply, Request, Response, Train, TrainingEnded
from tuning.workers.pool import AnyPool
from tuning.workers.worker import Usage, usage_of

METRICS = (
    *("loss", "accuracy", "val_loss", "val_accuracy"),
    *("val_balanced_accuracy", "val_f1", "val_auc"),
)


@dataclass
class Plan:
    """All epochs that a training can have, the seconds before the first of them, and how often the
    training has begun and how many epochs have ended.
    """

    epochs: list[Epoch]
    start_seconds: float
    n_starts: int = 0
    n_ended: int = 0

    def result(self, answer: Answer, metric: str) -> FitResult:
        history = self.epochs[: self.n_ended]
        best = max(history, key=lambda epoch: sign(metric) * epoch.metrics[metric])
        return FitResult(
            history=history,
            best_epoch=best.number,
            best_value=best.metrics[metric],
            metrics=best.metrics,
            stopped=answer is not Answer.GO_ON,
            paused=answer is Answer.PAUSE,
            seconds={
                "build": self.n_starts * self.start_seconds,
                "train": history[-1].number * history[-1].seconds,
            },
        )


class ReplayWorker:
    """A worker that sends the epochs of a plan, which can be pruned, paused and resumed."""

    is_ready = True

    def __init__(self, pool: ReplayPool) -> None:
        self.due, self.message = 0.0, cast("Response | None", None)
        self._pool = pool
        self._training: Generator[None, Answer, None]

    def measure(self) -> Usage:
        # The coordinator's time includes this call, which takes as long for a real worker.
        return usage_of(psutil.Process())

    def send(self, message: Request) -> None:
        self.due = self._pool.now
        if isinstance(message, Train):
            self._training = self._train(message.job)
            next(self._training)
        elif isinstance(message, Reply):
            self._training.send(message.answer)

    def _train(self, job: TrainingJob) -> Generator[None, Answer, None]:
        pool, checkpoint, answer = self._pool, job.checkpoint or "", Answer.GO_ON
        plan = pool.paused.pop(checkpoint, None) or pool.plan(job)
        plan.n_starts += 1
        self.due += plan.start_seconds
        # The measured training may have ended early, at the rung at which the trial was paused.
        while answer is Answer.GO_ON and plan.n_ended < len(plan.epochs):
            epoch = plan.epochs[plan.n_ended]
            plan.n_ended += 1
            self.due += epoch.seconds * (epoch.number > 0)
            self.message = EpochEnded(epoch)
            answer = yield
        if answer is Answer.PAUSE:
            pool.paused[checkpoint] = plan
            # A worker writes the checkpoint, not the coordinator: its content does not matter.
            write_bytes(Path(checkpoint), b"a checkpoint's place")
        self.message = TrainingEnded(plan.result(answer, pool.metric))
        yield


class ReplayPool:
    """A pool whose messages arrive in the order of its clock."""

    max_trainings = None

    def __init__(self, plan: Callable[[TrainingJob], Plan], *, metric: str, n_workers: int) -> None:
        self.plan, self.metric, self.now = plan, metric, 0.0
        self.paused: dict[str, Plan] = {}  # The key is the path of the checkpoint.
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


@contextlib.contextmanager
def replayed(
    config: StudyConfig,
    space: SearchSpace,
    pool: ReplayPool,
    *,
    folder: Path,
    splits: SplitReviews,
    subscribers: Sequence[Subscriber] = (),
) -> Iterator[Session]:
    """Open a new study in a folder as a context."""
    results = ResultsDir(folder)
    url = results.storage_url(None)
    study = open_study(results, config, space, data_fingerprint="fake", storage_url=url)
    try:
        yield Session(
            study=study,
            config=config,
            space=space,
            space_path=find_space(config.space),
            results=results,
            corpus=build_corpus(results.cache_dir("fake"), splits),
            pool=cast("AnyPool", pool),
            limits=Limits(),
            interrupt=Interrupt(),
            subscribers=subscribers,
        )
    finally:
        close_study(study)


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
    space = _with_choice(space, table.choice)
    config = StudyConfig(
        study="replay", space=table.space, seed=seed, metric=table.metric, **changes
    )

    def plan(job: TrainingJob) -> Plan:
        training = table.nearest(job.values, space)
        curve = noise.curve(training, seed=job.seed)
        others, seconds = dict.fromkeys(METRICS, 0.5), training.epoch_seconds
        epochs = [
            Epoch(number, {**others, table.metric: value}, seconds)
            for number, value in enumerate(curve, start=training.first_epoch)
            if job.n_epochs is None or number <= job.n_epochs
        ]
        return Plan(epochs, training.start_seconds)

    pool = ReplayPool(plan, metric=table.metric, n_workers=n_workers)
    splits = _fake_splits(table.n_classes)
    with (
        tempfile.TemporaryDirectory() as folder,
        replayed(config, space, pool, folder=Path(folder), splits=splits) as session,
    ):
        Search(session).run(n_trials, timeout_seconds=None)
        summary = summarize(session.study, metric=table.metric)
        is_confirmable = summary.n_confirmable >= MIN_COMPLETE
        confirmation = confirm_within(session) if is_confirmable else None
        best = best_of(summary, confirmation)
        assert best is not None  # for mypy: a search ends with a complete trial
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


def _fake_splits(n_classes: int) -> SplitReviews:
    # No fake worker reads the texts.
    texts = [f"word{number}" for number in range(50 * n_classes)]
    frame = pd.DataFrame({"text": texts, "label": np.arange(len(texts)) % n_classes})
    target = Classes(tuple(f"class{number}" for number in range(n_classes)))
    return split_reviews(Reviews(frame, target, "text", "label", {}), seed=0)
