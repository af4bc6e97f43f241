"""The coordinator's time for a trial in a small and in a large study, with fake trainings.

`tuning.search.loop.Search` runs as in a search, on SQLite in WAL mode, with TPE and ASHA. Only the
pool is fake: its worker sends each message at once. The wall time of the search is therefore the
coordinator's own: ask, suggest, report, prune, files, attributes, tell, summary.
"""

from __future__ import annotations

import cProfile
import itertools
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import pandas as pd

from benchmarks.configurations import SPACE_PATH
from benchmarks.fake_workers import (
    FAKE_SECONDS,
    Clock,
    FakePool,
    PausingWorker,
    fake_metrics,
    fake_session,
)
from benchmarks.ours import study_config
from tuning.config import SPLITS, DataConfig
from tuning.data.corpus import build_corpus
from tuning.data.splits import SplitReviews
from tuning.results import ResultsDir
from tuning.search.loop import Search
from tuning.search.progress import Progressed
from tuning.search.session import Session
from tuning.spaces.hyperparameters import suggest
from tuning.spaces.loading import SearchSpace, declare
from tuning.study.coordinators import Coordinators
from tuning.study.storage import close_study
from tuning.study.study import open_study

TRIAL_SECONDS = 10.0  # duration of a trial, with which the goal compares the coordinator's time
N_ROWS = 23_000  # number of rows of the training split
N_PROFILED = 15  # number of functions that the record names


def measure(*, n_before: int, n_trials: int, seed: int) -> dict[str, Any]:
    """Return the coordinator's seconds per trial after `n_before` trials, and a profile of one more
    trial by function.
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
            clock, rng = Clock(), np.random.default_rng(seed)
            worker = PausingWorker(
                clock, epochs=config.train.epochs, rng=rng, trial_seconds=0.0, paused={}
            )
            pool = FakePool([worker], clock)
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
    """Search until the study has `n_trials` finished trials. Return the time of the start, then the
    times of all events that are shown as lines.
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
    """Return made-up texts of 300 different lengths, as many as the default data's training split
    has.
    """
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
    """Return `n` finished trials of random configurations with the attributes of real trials. Half
    of the trials were pruned after an epoch.
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
    """Return the functions of `tuning` and `optuna` that took the longest time, including the
    functions that they call.
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
