"""The coordinator's time for a trial in a small and in a large study, with fake trainings.

`tuning.search.loop.Search` runs as in a search, on SQLite in WAL mode, with TPE and ASHA. Only the
pool is fake: its worker answers at once. The wall time of the search is therefore the coordinator's
own: ask, suggest, report, prune, files, attributes, tell, summary.
"""

from __future__ import annotations

import cProfile
import itertools
import pstats
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import pandas as pd
import psutil

from benchmarks.configurations import SPACE_PATH
from benchmarks.ours import study_config
from tuning.atomic_io import write_bytes
from tuning.config import SPLITS, DataConfig, StudyConfig
from tuning.data.corpus import Corpus, build_corpus
from tuning.data.splits import SplitReviews
from tuning.report.dashboard import DashboardDrawing
from tuning.results import ResultsDir
from tuning.search.loop import Search
from tuning.search.progress import Progressed
from tuning.search.session import Interrupt, Session
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace, declare
from tuning.study.coordinators import Coordinators
from tuning.study.storage import close_study
from tuning.study.study import open_study
from tuning.training.result import Answer, Epoch, FitResult
from tuning.workers.limits import TrialLimits
from tuning.workers.messages import EpochEnded, Reply, Request, Response, Train, TrainingEnded
from tuning.workers.pool import AnyPool
from tuning.workers.worker import Usage, usage_of

TRIAL_SECONDS = 10.0  # duration of a trial, with which the goal compares the coordinator's time
N_ROWS = 23_000  # of the training split
N_PROFILED = 15  # functions that the record names
FAKE_SECONDS = {"build": 0.1, "view": 0.01, "train": 9.0, "evaluate": 0.8}


class FakeWorker:
    """Answers each message as a worker does, at once: an epoch until it is told to stop, then the
    result. Paused trials go on where they were.
    """

    def __init__(self, *, epochs: int, seed: int) -> None:
        self.answers: deque[Response] = deque()
        self.is_ready = True
        self._rng = np.random.default_rng(seed)
        self._epochs = epochs
        self._histories: dict[str | None, list[Epoch]] = {}  # of paused trials, by checkpoint
        self._history: list[Epoch] = []
        self._checkpoint: str | None = None

    def measure(self) -> Usage:
        return usage_of(psutil.Process())  # costs the coordinator as much as for a real worker

    def send(self, message: Request) -> None:
        if isinstance(message, Train):
            job = message.job
            self._checkpoint = job.checkpoint
            self._history = self._histories.pop(job.checkpoint, []) if job.resume else []
            self._train_epoch()
        elif isinstance(message, Reply):
            if message.answer is Answer.GO_ON and len(self._history) < self._epochs:
                self._train_epoch()
            else:
                self._end(message.answer)

    def _train_epoch(self) -> None:
        self._history.append(Epoch(len(self._history) + 1, fake_metrics(self._rng), 2.0))
        self.answers.append(EpochEnded(self._history[-1]))

    def _end(self, answer: Answer) -> None:
        result = fake_result(self._history)
        result.stopped = answer is not Answer.GO_ON
        if answer is Answer.PAUSE:
            result.paused = True
            self._histories[self._checkpoint] = self._history
            # A worker writes the checkpoint, not the coordinator: its content does not matter.
            write_bytes(Path(self._checkpoint or ""), b"a checkpoint's place")
        self.answers.append(TrainingEnded(result))


class FakePool:
    """A pool of one fake worker."""

    def __init__(self, worker: FakeWorker) -> None:
        self.workers = [worker]

    def wait(self, timeout_seconds: float) -> list[tuple[FakeWorker, Response]]:
        return [(worker, worker.answers.popleft()) for worker in self.workers if worker.answers]

    def threads_of_each(self, n_jobs: int) -> None:
        """Fake workers have no kernels."""


def fake_metrics(rng: np.random.Generator) -> dict[str, float]:
    """Random values of the metrics of an epoch."""
    names = (
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "val_balanced_accuracy",
        "val_f1",
        "val_auc",
    )
    return dict(zip(names, rng.uniform(0.5, 0.9, len(names)).tolist(), strict=True))


def fake_result(history: list[Epoch]) -> FitResult:
    """The result of a training with these epochs."""
    best = max(history, key=lambda epoch: epoch.metrics["val_accuracy"])
    return FitResult(
        history=history,
        best_epoch=best.number,
        best_value=best.metrics["val_accuracy"],
        metrics=best.metrics,
        confusion=[[40, 10], [10, 40]],
        seconds=dict(FAKE_SECONDS),
    )


def fake_session(
    study: optuna.Study,
    config: StudyConfig,
    space: SearchSpace,
    *,
    corpus: Corpus,
    results: ResultsDir,
    pool: object,
) -> Session:
    """A session of a search whose pool has what `Search` uses of a pool."""
    return Session(
        study=study,
        config=config,
        space=space,
        space_path=SPACE_PATH,
        results=results,
        corpus=corpus,
        pool=cast("AnyPool", pool),
        limits=TrialLimits(),
        interrupt=Interrupt(),
        drawing=DashboardDrawing(),
    )


def measure(*, n_before: int, n_trials: int, seed: int) -> dict[str, Any]:
    """The coordinator's seconds per trial after `n_before` trials, and a profile of one more trial
    by function.
    """
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsDir(Path(folder))
        config = study_config("coordinator", DataConfig(), seed=seed)
        space = declare(SPACE_PATH, n_classes=2)
        corpus = build_corpus(results.cache_dir("fake"), fake_reviews())
        study = open_study(
            results, config, space, data_fingerprint="fake", storage_url=results.storage_url(None)
        )
        study.add_trials(past_trials(n_before, space=space, epochs=config.train.epochs, seed=seed))

        def search(n: int) -> list[float]:
            pool = FakePool(FakeWorker(epochs=config.train.epochs, seed=seed))
            session = fake_session(study, config, space, corpus=corpus, results=results, pool=pool)
            return event_seconds(session, n_trials=n)

        events = search(n_before + n_trials)
        profile = cProfile.Profile()
        profile.runcall(search, n_before + n_trials + 1)
        close_study(study)
    seconds = (events[-1] - events[0]) / n_trials
    figures = {
        "n_before": n_before,
        "n_trials": n_trials,
        "seconds_a_trial": round(seconds, 4),
        "share": seconds / TRIAL_SECONDS,
    }
    gaps = [round(end - start, 4) for start, end in itertools.pairwise(events)]
    return {**figures, "seconds_between_events": gaps, "profile_of_one_trial": slowest(profile)}


def event_seconds(session: Session, *, n_trials: int) -> list[float]:
    """Search until the study has `n_trials` finished trials; return the time of each event that is
    shown as a line, and the start of the call first.
    """
    events: list[float] = []

    def keep_time(progressed: Progressed) -> None:
        if progressed.event:
            events.append(time.perf_counter())

    search = Search(session, Coordinators(session.study), on_change=keep_time)
    events.append(time.perf_counter())
    search.run(n_trials, timeout_seconds=None)
    return events


def fake_reviews() -> SplitReviews:
    """Made-up texts of 300 different lengths, as many as the default data's training split has."""
    texts = pd.Series([" ".join(["word"] * (1 + number % 300)) for number in range(N_ROWS)])
    frame = pd.DataFrame({"text": texts, "label": np.arange(N_ROWS) % 2})
    return SplitReviews(
        {name: frame if name == "train" else frame[:100] for name in SPLITS},
        ("negative", "positive"),
        0,
        "fake",
    )


def past_trials(
    n: int, *, space: SearchSpace, epochs: int, seed: int
) -> list[optuna.trial.FrozenTrial]:
    """`n` finished trials of random configurations with the attributes of real trials; half of them
    were pruned after an epoch.
    """
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
            "padding_share": 0.1,
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


def slowest(profile: cProfile.Profile) -> list[dict[str, Any]]:
    """The functions of `tuning` and `optuna` that took the most time, including the functions that
    they call.
    """
    by_function = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    stats = cast("dict[tuple[str, int, str], tuple[int, int, float, float, Any]]", by_function)
    functions = [
        (cumulative, calls, f"{Path(file).parent.name}/{Path(file).name}:{name}")
        for (file, _, name), (_, calls, _, cumulative, _) in stats.items()
        if "/tuning/" in file or "/optuna/" in file
    ]
    return [
        {"function": name, "calls": calls, "seconds": round(s, 4)}
        for s, calls, name in sorted(functions, reverse=True)[:N_PROFILED]
    ]
