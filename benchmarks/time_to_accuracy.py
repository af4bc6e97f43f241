"""The time until this program reaches the validation accuracy of its peers.

KerasTuner's RandomSearch and Hyperband search one small space, each for `--minutes`. Then this
program searches that space with its defaults (TPE, ASHA, 5 epochs, patience 2) until one of its
epochs reaches the best accuracy of the better tuner, or until the same time is over.

In addition, KerasTuner's Hyperband searches the default space of this program, and fastText's
autotune its own models, each for `--minutes`. Then this program searches its default space until
one of its epochs reaches the better accuracy of the two, or until the same time is over.

All use the same rows and seed. The measured times favor the peers: a peer's time begins when its
texts are in memory, this program's before it reads the file.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import default_space, fasttext, ours
from benchmarks.configurations import DIGITS
from benchmarks.goals import figures
from benchmarks.processes import cpu_seconds, in_fresh_process
from benchmarks.settings import Settings
from benchmarks.sides import Sides, sides_of
from benchmarks.texts import peer_texts
from tuning.atomic_io import read_history
from tuning.config import StudyConfig, TrainConfig
from tuning.data.splits import SplitReviews
from tuning.results import ResultsDir
from tuning.search.progress import Progressed

TUNERS = {"kerastuner_random": "random", "kerastuner_hyperband": "hyperband"}
EPOCHS = 5  # this program's default, which all sides use
MANY_TRIALS = 1_000  # a number of trials that does not fit in the time

# The peers with which this program's default search is compared.
DEFAULT_SPACE = ("kerastuner_default_space", "fasttext")

# An epoch: its `seconds` and `cpu_seconds` since the start of its side, and its `val_accuracy`.
Point = dict[str, float]
Points = list[Point]


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """Return the accuracy of every epoch of all sides, the targets, and the ratios of the times."""
    sides = sides_of(settings, show=show)
    points = _same_space(settings, splits, sides, show=show)
    target = target_of(points, TUNERS)
    ratio, cpu, note = ratio_of(target, points.get("ours", []))
    points |= _default_space(settings, splits, sides, show=show)
    own = points.get("ours_default_space", [])
    ratios = {}
    for name in (name for name in DEFAULT_SPACE if name in points):
        wall, cpu_ratio, why = ratio_of(target_of(points, [name]), own)
        ratios[f"ratio_{name}"] = {"wall": wall, "cpu": cpu_ratio, "note": why}
    return {
        **figures(
            {"ratio_time_to_accuracy": ratio},
            notes={"ratio_time_to_accuracy": note} if note else None,
            cpu={"ratio_time_to_accuracy": cpu},
        ),
        "minutes": settings.minutes_of("time-to-accuracy"),
        "epochs": settings.size(EPOCHS, tiny=1),
        "target": None if target is None else target["val_accuracy"],
        "kerastuner_seconds": None if target is None else target["seconds"],
        "ratios": ratios,
        "best_over_time": {name: best_over_time(side) for name, side in points.items()},
        "every_epoch": points,
        "noise": sides.record(),
    }


def _same_space(
    settings: Settings, splits: SplitReviews, sides: Sides, *, show: Callable[[str], None]
) -> dict[str, Points]:
    """Return the epochs of KerasTuner's tuners and of this program on the small space."""
    minutes, shared = settings.minutes_of("time-to-accuracy"), _shared(settings)
    points: dict[str, Points] = {}
    texts = peer_texts(splits)
    for name, tuner in TUNERS.items():
        show(f"KerasTuner, {tuner}, {minutes:g} minutes")
        search = partial(in_fresh_process, _peer_search, tuner=tuner, texts=texts, **shared)
        points[name] = sides.measure(name, search)
    target = target_of(points, TUNERS)
    if target is not None:
        config = ours.study_config("time_to_accuracy", settings.data, seed=settings.seed)
        points["ours"] = _own_search(settings, config, target, sides, name="ours", show=show)
    return points


def _default_space(
    settings: Settings, splits: SplitReviews, sides: Sides, *, show: Callable[[str], None]
) -> dict[str, Points]:
    """Return the epochs of KerasTuner and of this program on the default space, and fastText's
    scores.
    """
    minutes, shared = settings.minutes_of("time-to-accuracy"), _shared(settings)
    points: dict[str, Points] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        in_fresh_process(
            default_space.write_corpus, log_path=settings.log_path, splits=splits, folder=folder
        )
        show(f"KerasTuner, hyperband on the default space, {minutes:g} minutes")
        search = partial(in_fresh_process, _default_space_search, corpus_dir=folder, **shared)
        side = "kerastuner_default_space"
        points[side] = sides.measure(side, partial(search, tuner="hyperband"))
    if importlib.util.find_spec("fasttext") is None:
        show("fastText is not installed")
    else:
        show(f"fastText's autotune, {minutes:g} minutes")
        seconds = settings.size(round(minutes * 60), tiny=3)
        run = partial(fasttext.autotune, splits, seconds=seconds, settings=settings)
        points["fasttext"] = sides.measure("fasttext", run)["epochs"]
    target = target_of(points, DEFAULT_SPACE)
    if target is not None:
        config = StudyConfig(study="default_space", seed=settings.seed, data=settings.data)
        points["ours_default_space"] = _own_search(
            settings, config, target, sides, name="ours_default_space", show=show
        )
    return points


def _shared(settings: Settings) -> dict[str, Any]:
    """Return the arguments of all searches of KerasTuner."""
    return {
        "seed": settings.seed,
        "epochs": settings.size(EPOCHS, tiny=1),
        "log_path": settings.log_path,
        "budget_seconds": settings.minutes_of("time-to-accuracy") * 60,
    }


def _own_search(
    settings: Settings,
    config: StudyConfig,
    target: Point,
    sides: Sides,
    *,
    name: str,
    show: Callable[[str], None],
) -> Points:
    minutes, accuracy = settings.minutes_of("time-to-accuracy"), target["val_accuracy"]
    show(f"this program, until validation accuracy {accuracy:.4f} or {minutes:g} minutes")
    epochs = settings.size(EPOCHS, tiny=1)
    search = partial(
        in_fresh_process,
        search_until,
        log_path=settings.log_path,
        config=replace(config, train=TrainConfig(epochs=epochs)),
        n_workers=settings.n_workers,
        target=accuracy,
        budget_seconds=minutes * 60,
    )
    return sides.measure(name, search)


def _default_space_search(**arguments: Any) -> Points:
    from benchmarks.peers import default_space_peer

    return default_space_peer.search(**arguments)


def _peer_search(**arguments: Any) -> Points:
    from benchmarks.peers import kerastuner_peer

    return kerastuner_peer.search(**arguments)


def search_until(
    *, config: StudyConfig, n_workers: int, target: float, budget_seconds: float
) -> Points:
    """Search until the validation accuracy of an epoch is at least `target`, or the time is over.

    The search is ended as users end it, by the signal of Ctrl-C.

    Returns:
        The wall and CPU seconds since the start and the accuracy of every epoch.
    """
    points: Points = []
    with tempfile.TemporaryDirectory() as folder:
        study_dir = ResultsDir(Path(folder)).study(config.study)
        started, cpu_started = time.perf_counter(), cpu_seconds()

        def on_change(progressed: Progressed) -> None:
            epoch = re.match(r"trial (\d+) epoch \d+:", progressed.event)
            if epoch and not reached(points, target):
                accuracy = round(
                    read_history(study_dir.history_path(int(epoch[1])))[-1]["val_accuracy"], DIGITS
                )
                points.append(
                    {
                        "seconds": round(time.perf_counter() - started, 3),
                        "cpu_seconds": round(cpu_seconds() - cpu_started, 3),
                        "val_accuracy": accuracy,
                    }
                )
                if reached(points, target):
                    signal.raise_signal(signal.SIGINT)

        limits: dict[str, Any] = {"n_trials": MANY_TRIALS, "timeout_seconds": budget_seconds}
        ours.search(config, folder=Path(folder), n_workers=n_workers, on_change=on_change, **limits)
    return points


def reached(points: Points, target: float) -> bool:
    """Return whether the last epoch has reached the target."""
    return bool(points) and points[-1]["val_accuracy"] >= target


def best_over_time(points: Points) -> Points:
    """Return the epochs whose accuracy is above the accuracies of all epochs before them."""
    best: Points = []
    for point in points:
        if not best or point["val_accuracy"] > best[-1]["val_accuracy"]:
            best.append(point)
    return best


def target_of(points: Mapping[str, Points], names: Iterable[str]) -> Point | None:
    """Return the epoch in which the best accuracy of these sides was first reached; None if no
    epoch ended in time.
    """
    bests = [best_over_time(points[name])[-1] for name in names if points.get(name)]
    if not bests:
        return None
    return max(bests, key=lambda point: (point["val_accuracy"], -point["seconds"]))


def ratio_of(target: Point | None, own: Sequence[Point]) -> tuple[float | None, float | None, str]:
    """Return the peer's wall and CPU seconds, each divided by this program's, and an empty note; or
    None twice, and the reason.
    """
    if target is None:
        return None, None, "the peer ended no epoch in the time"
    accuracy = target["val_accuracy"]
    mine = next((point for point in own if point["val_accuracy"] >= accuracy), None)
    if mine is None:
        return None, None, f"this program did not reach {accuracy:.4f} in the time"
    wall, cpu = (target[name] / mine[name] for name in ("seconds", "cpu_seconds"))
    return wall, cpu, ""
