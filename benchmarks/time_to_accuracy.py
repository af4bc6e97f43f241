"""The time until this program reaches the validation accuracy of its peers, and its test accuracy
beside fastText's.

KerasTuner's RandomSearch and Hyperband and this program, with its defaults (TPE, ASHA, 5 epochs,
patience 2), search one small space, each for `--minutes`. In addition, KerasTuner's Hyperband and
this program search the default space of this program, and fastText's autotune its own models, for
the same time. The best configuration of this program's default space and of fastText is scored on
the test split, after a training on the training split alone.

All use the same rows and seed. The measured times favor the peers: a peer's time begins when its
texts are in memory, this program's before it reads the file.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ours
from benchmarks.configurations import DIGITS
from benchmarks.data import write_corpus
from benchmarks.goals import figure
from benchmarks.processes import cpu_seconds
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.atomic_io import read_history
from tuning.config import SPLITS, StudyConfig, TrainConfig
from tuning.data.splits import SplitReviews
from tuning.inputs.corpus import Corpus
from tuning.results import ResultsDir
from tuning.search.events import Event, Outcome, Progressed
from tuning.search.tune import Budget
from tuning.spaces.files import find_space
from tuning.study.study import read_record
from tuning.study.trials import value_of, values_of
from tuning.workers.messages import train_request

TUNERS = {"kerastuner_random": "random", "kerastuner_hyperband": "hyperband"}
EPOCHS = 5  # this program's default, which all sides use
MANY_TRIALS = 10_000  # a number of trials that does not fit in the time
KERASTUNER = "benchmarks.peers.kerastuner_peer.search"

# An epoch: its `seconds` and `cpu_seconds` since the start of its side, and its `val_accuracy`.
Point = dict[str, float]
Points = Sequence[Point]
# The wall and CPU seconds of a peer, each divided by this program's; or the reason why not.
Ratio = dict[str, float] | str


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
    seconds, epochs = settings.minutes * 60, settings.size(EPOCHS, tiny=1)
    peer = {"seed": settings.seed, "epochs": epochs, "budget_seconds": seconds}
    own = {"n_workers": settings.n_workers, "budget_seconds": seconds}
    config = ours.study_config(
        "search", settings.data, seed=settings.seed, train=TrainConfig(epochs=epochs)
    )
    points: dict[str, Points] = {}
    sides.show(f"{settings.minutes:g} minutes for each side")
    for name, tuner in TUNERS.items():
        points[name] = sides.measure(name, KERASTUNER, data=splits, tuner=tuner, **peer)
    points["ours"] = sides.measure("ours", search, config=config, **own)["epochs"]
    with tempfile.TemporaryDirectory() as folder:
        data, name = Path(folder) / "corpus", "kerastuner_default_space"
        sides.run(write_corpus, splits=splits, folder=data)
        points[name] = sides.measure(name, KERASTUNER, data=data, tuner="hyperband", **peer)
    config = replace(config, space=StudyConfig.space)
    searched = sides.measure("ours_default_space", search, config=config, test=True, **own)
    points["ours_default_space"] = searched["epochs"]
    scores = {"ours": searched}
    gain: float | str = "fastText is not installed"
    if importlib.util.find_spec("fasttext"):
        try:
            scores["fasttext"] = sides.measure(
                "fasttext",
                "benchmarks.peers.fasttext_peer.autotune",
                splits=splits,
                seconds=max(round(seconds), 1),
                n_threads=settings.n_workers,
                seed=settings.seed,
            )
            gain = gain_of(**scores)
        except (BrokenProcessPool, FloatingPointError):
            gain = "fastText's autotune diverged or hung, as it does with some seeds"
    ratio = ratio_of(target_of(points, TUNERS), points["ours"])
    in_default_space = ratio_of(target_of(points, ["kerastuner_default_space"]), searched["epochs"])
    shown = in_default_space
    if not isinstance(shown, str):
        shown = f"{shown['wall']:.2f} × ({shown['cpu']:.2f} × in CPU seconds)"
    sides.show(f"time to the accuracy of KerasTuner in the default space: {shown}")
    wall, cpu = (ratio, None) if isinstance(ratio, str) else (ratio["wall"], ratio["cpu"])
    return {
        "ratio_time_to_accuracy": figure("ratio_time_to_accuracy", wall, cpu=cpu),
        "fasttext_accuracy_gain": figure("fasttext_accuracy_gain", gain),
        "minutes": settings.minutes,
        "in_default_space": in_default_space,
        "scores": scores,
        "every_epoch": points,
    }


def search(
    *, config: StudyConfig, n_workers: int, budget_seconds: float, test: bool = False
) -> dict[str, Any]:
    """Return `epochs`: the wall and CPU seconds since the start and the accuracy of every epoch.

    `test` adds the `validation_accuracy` and the `test_accuracy` of the best configuration, which
    are None if no trial is complete.
    """
    points: list[Point] = []
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsDir(Path(folder))
        started, cpu_started = time.perf_counter(), cpu_seconds()

        def on_change(event: Event) -> None:
            sentence = event.event if isinstance(event, Progressed) else ""
            if epoch := re.match(r"trial (\d+) epoch \d+:", sentence):
                path = results.study(config.study).history_path(int(epoch[1]))
                points.append(
                    {
                        "seconds": round(time.perf_counter() - started, 3),
                        "cpu_seconds": round(cpu_seconds() - cpu_started, 3),
                        "val_accuracy": round(read_history(path)[-1]["val_accuracy"], DIGITS),
                    }
                )

        outcome = ours.search(
            config,
            folder=Path(folder),
            n_workers=n_workers,
            budget=Budget(n_trials=MANY_TRIALS, timeout_seconds=budget_seconds),
            subscribers=[on_change],
        )
        return {"epochs": points, **(_scores(outcome, config, results) if test else {})}


def _scores(outcome: Outcome, config: StudyConfig, results: ResultsDir) -> dict[str, Any]:
    """Train the best trial's configuration on the training split, for its best number of epochs."""
    from tuning.spaces.loading import load_hypermodel
    from tuning.training import fit, prediction

    best = outcome.summary.best
    if best is None:
        return {"validation_accuracy": None, "test_accuracy": None}
    record, path = read_record(results.study(config.study)), find_space(config.space)
    corpus = Corpus(results.cache_dir(record.data_fingerprint))
    values, space = values_of(best, outcome.space), outcome.space
    request = train_request(record.config, values, space=space, space_path=path, corpus=corpus)
    job = replace(request.job, n_epochs=best.user_attrs["best_epoch"])
    train, validation, test = (corpus.split(name) for name in SPLITS)
    model, _ = fit.fit(load_hypermodel(path), job, train=train, validation=validation)
    view = prediction.make_view(model, job.values, test.texts)
    probabilities = prediction.Predictor(model)(view, target=job.target)
    right = np.mean(job.target.decide(probabilities) == test.labels)
    return {"validation_accuracy": value_of(best), "test_accuracy": float(right)}


def target_of(points: Mapping[str, Points], names: Iterable[str]) -> Point | None:
    """Return the epoch in which the best accuracy of these sides was first reached; None if no
    epoch ended in time.
    """
    return max(
        (point for name in names for point in points[name]),
        key=lambda point: (point["val_accuracy"], -point["seconds"]),
        default=None,
    )


def ratio_of(target: Point | None, own: Points) -> Ratio:
    if target is None:
        return "the peer ended no epoch in the time"
    accuracy = target["val_accuracy"]
    mine = next((point for point in own if point["val_accuracy"] >= accuracy), None)
    if mine is None:
        return f"this program did not reach {accuracy:.4f} in the time"
    return {
        "wall": target["seconds"] / mine["seconds"],
        "cpu": target["cpu_seconds"] / mine["cpu_seconds"],
    }


def gain_of(ours: Mapping[str, Any], fasttext: Mapping[str, Any]) -> float | str:
    if ours["test_accuracy"] is None:
        return "this program ended no trial in the time"
    return float(100 * (ours["test_accuracy"] - fasttext["test_accuracy"]))
