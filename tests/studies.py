"""Search spaces, configurations and studies that several test modules use."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from tests.paths import ROOT
from tests.stored_documents import CARD
from tests.texts import substitute
from tuning.atomic_io import read_json, write_json
from tuning.config import DataConfig, Limits, StudyConfig, TrainConfig, Workers
from tuning.report.dashboard import annotate
from tuning.results import ResultsDir
from tuning.search.events import Event, Interrupt, Outcome, Progressed, SearchStarted, Subscriber
from tuning.search.session import Session
from tuning.search.tune import Budget, tune
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter
from tuning.workers.pool import AnyPool

E = TypeVar("E", bound=Event)

TINY_SPACE = """
import keras
import keras_tuner

from tuning import models


def lstm_classifier(**options):
    model = models.lstm_classifier(**options)
    # A graph takes longer to trace than these trainings take without one.
    model.run_eagerly = True
    return model


class Tiny(keras_tuner.HyperModel):
    def declare_hyperparameters(self, hp):
        hp.Int("vocab_size", 10, 40, default=30)
        hp.Int("sequence_length", 4, 16, default=8)
        hp.Int("embedding_dim", 2, 4, default=2)
        hp.Int("lstm_units", 2, 4, default=2)
        hp.Fixed("learning_rate", 0.05)
        hp.Fixed("n_classes", 2)

    def build(self, hp):
        return lstm_classifier(
            vocab_size=hp.get("vocab_size"),
            embedding_dim=hp.get("embedding_dim"),
            lstm_units=hp.get("lstm_units"),
            dropout=0.0,
            recurrent_dropout=0.0,
            learning_rate=hp.get("learning_rate"),
            n_classes=hp.get("n_classes"),
        )


hypermodel = Tiny()
"""

SPACE = SearchSpace(
    "tiny",
    (
        Hyperparameter(name="vocab_size", kind="int", default=10, low=10, high=40, step=10),
        Hyperparameter(name="sequence_length", kind="fixed", default=8),
        Hyperparameter(name="cell", kind="choice", default="lstm", choices=("lstm", "gru")),
    ),
)
CONFIG = StudyConfig(study="s")

MANY_SPACE = SearchSpace(
    "many",
    (
        Hyperparameter(
            name="learning_rate", kind="float", default=1e-3, low=1e-4, high=1e-1, log=True
        ),
        Hyperparameter(name="lstm_units", kind="int", default=32, low=4, high=128),
        Hyperparameter(name="vocab_size", kind="int", default=9_000, low=1_000, high=30_000),
        Hyperparameter(name="dropout", kind="float", default=0.2, low=0.0, high=0.5),
    ),
)


class Setting:
    """A results folder and a configuration, with a method `tune` that uses both."""

    def __init__(self, tmp_path: Path, data: Path, space: Path) -> None:
        self.results = ResultsDir(tmp_path / "results")
        self.config = StudyConfig(
            study="s",
            space=str(space),
            pruner="none",
            data=DataConfig(data=str(data)),
            train=TrainConfig(epochs=2, evaluates_fitted=True),
            resplit=True,
        )
        self.folder = self.results.study("s")

    def tune(self, n_trials: int, **options: Any) -> Outcome:
        config = replace(self.config, **options.pop("config", {}))
        url = self.results.storage_url(None)
        return tune_with(config, self.results, storage_url=url, n_trials=n_trials, **options)

    def edit_space(self, old: str, new: str) -> None:
        """Replace `old` by `new` in the source text of the search space."""
        substitute(Path(self.config.space), old, new)

    def run_in_build(self, code: str) -> None:
        """Make the search space run this code before it builds a model."""
        lines = "".join(f"        {line}\n" for line in code.splitlines())
        self.edit_space(
            "        return lstm_classifier(", f"{lines}        return lstm_classifier("
        )

    def study(self) -> optuna.Study:
        return optuna.load_study(study_name="s", storage=self.results.storage_url(None))


def on(kind: type[E], function: Callable[[E], None]) -> Subscriber:
    """Return a subscriber that calls a function with the events of one type."""

    def subscriber(event: Event) -> None:
        if isinstance(event, kind):
            function(event)

    return subscriber


def tune_with(
    config: StudyConfig,
    results: ResultsDir,
    *,
    storage_url: str,
    n_trials: int | None = None,
    timeout_seconds: float | None = None,
    min_texts: int | None = None,
    n_workers: int | None = 1,
    limits: Limits | None = None,
    pool: Workers | None = None,
    on_start: Callable[[SearchStarted], None] = lambda event: None,
    on_change: Callable[[Progressed], None] = lambda event: None,
    subscribers: Sequence[Subscriber] = (),
    **options: Any,
) -> Outcome:
    """Call `tune` with one worker; the values of its configuration objects are arguments."""
    return tune(
        config,
        results,
        storage_url=storage_url,
        budget=Budget(
            n_trials=n_trials,
            timeout_seconds=timeout_seconds,
            min_texts=min_texts,
        ),
        workers=replace(pool or Workers(), n_workers=n_workers),
        limits=limits,
        subscribers=[
            on(SearchStarted, on_start),
            on(Progressed, on_change),
            *subscribers,
            annotate,
        ],
        **options,
    )


class NoWorkers:
    """A pool without workers, for sessions that train nothing."""

    workers: tuple[()] = ()


def session_of(
    study: optuna.Study,
    config: StudyConfig,
    space: SearchSpace,
    results: ResultsDir,
    **changes: Any,
) -> Session:
    """Return a session of a study over a data set of two classes. Without other workers in
    `changes`, it trains nothing.
    """
    orders = np.array([0, 0, 1, 1, 2, 3, 3], np.uint8)
    corpus: Any = SimpleNamespace(
        card=CARD, target=CARD.target, folder=results.path, ngram_orders=orders
    )
    session = Session(
        study=study,
        config=config,
        space=space,
        space_path=Path("space.py"),
        results=results,
        corpus=corpus,
        pool=cast("AnyPool", NoWorkers()),
        limits=Limits(),
        interrupt=Interrupt(),
    )
    return replace(session, **changes)


def copy_study(results: ResultsDir, folder: Path) -> Setting:
    """Return a copy of the study of the fixture `finished`, with its data and its search space,
    that a test may change.
    """
    made = Setting(folder, folder / "reviews.csv", folder / "tiny.py")
    made.config = replace(made.config, sampler="random")
    shutil.copytree(results.path, made.results.path)
    record = read_json(made.folder.config_path)
    shutil.copy(record["config"]["data"]["data"], made.config.data.data)
    shutil.copy(record["config"]["space"], made.config.space)
    record["config"]["data"]["data"] = made.config.data.data
    record["config"]["space"] = made.config.space
    write_json(made.folder.config_path, record)
    return made


def many_trials(n: int) -> optuna.Study:
    """Return a study of `n` trials with four hyperparameters, of which half are pruned. The fewer
    units a trial has, the higher is its best learning rate.
    """
    rng = np.random.default_rng(0)
    ranges = {
        "learning_rate": (1e-4, 1e-1),
        "lstm_units": (4, 128),
        "vocab_size": (1_000, 30_000),
        "dropout": (0.0, 0.5),
    }
    study = optuna.create_study(direction="maximize")
    for number in range(n):
        share = {name: float(rng.random()) for name in ranges}
        params = {
            "learning_rate": 10 ** (-4 + 3 * share["learning_rate"]),
            "lstm_units": 4 + int(124 * share["lstm_units"]),
            "vocab_size": 1_000 + int(29_000 * share["vocab_size"]),
            "dropout": 0.5 * share["dropout"],
        }
        off = share["learning_rate"] + share["lstm_units"] - 1
        value = 0.9 - abs(off) - 0.1 * share["dropout"]
        seconds = {"train": 2.0, "evaluate": 0.2, "idle": 0.1}
        attributes = {
            "seconds": seconds,
            "n_epochs": 5 if number % 2 else 1,
            "best_epoch": 1,
            "val_accuracy": value,
            "baseline": number == 1,
        }
        distributions = {
            "learning_rate": FloatDistribution(*ranges["learning_rate"], log=True),
            "lstm_units": IntDistribution(4, 128),
            "vocab_size": IntDistribution(1_000, 30_000),
            "dropout": FloatDistribution(0.0, 0.5),
        }
        made = create_trial(
            value=value if number % 2 else None,
            state=TrialState.COMPLETE if number % 2 else TrialState.PRUNED,
            params=params,
            distributions=distributions,
            user_attrs=attributes,
            intermediate_values={1: value},
        )
        study.add_trial(made)
    return study


def open_at_once(url: str) -> None:
    """Open a database without tables from four processes at the same time."""
    wait = "print('ready', flush=True); sys.stdin.readline()"
    code = (
        f"import sys; from tuning.study.storage import open_storage; {wait};"
        " open_storage(sys.argv[1])"
    )
    command = [sys.executable, "-c", code, url]
    streams = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    processes = [
        subprocess.Popen(command, cwd=ROOT, **streams)  # type: ignore[call-overload]
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
