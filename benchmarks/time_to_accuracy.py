"""The time until this program reaches the validation accuracy of KerasTuner's better tuner.

KerasTuner's RandomSearch and Hyperband search the same space, each for `--minutes`. Then this
program searches with its defaults (TPE, ASHA, 5 epochs, patience 2) until one of its epochs reaches
the best accuracy of the better tuner, or until the same time is over. All use the same rows and
seed. The measured times favor the peer: its time begins when its texts are in memory, this
program's before it reads the file.
"""

from __future__ import annotations

import re
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.configurations import DIGITS
from benchmarks.goals import figures
from benchmarks.processes import in_fresh_process
from benchmarks.settings import Settings
from benchmarks.texts import peer_texts
from tuning.config import DataConfig, TrainConfig
from tuning.data.splits import SplitReviews
from tuning.results import ResultsDir, read_history
from tuning.search.progress import Progressed

TUNERS = {"kerastuner_random": "random", "kerastuner_hyperband": "hyperband"}
EPOCHS = 5  # this program's default, which all sides use
MANY_TRIALS = 1_000  # more than fit in the time: the time limit or the target ends the search

Points = list[dict[str, float]]


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """The accuracy of every epoch of both tuners, the target, and every epoch of this program."""
    minutes = settings.minutes_of("time-to-accuracy")
    budget_seconds = minutes * 60
    epochs = settings.size(EPOCHS, tiny=1)
    points: dict[str, Points] = {}
    texts = peer_texts(splits)
    shared: dict[str, Any] = {
        "seed": settings.seed,
        "epochs": epochs,
        "log_path": settings.log_path,
        "budget_seconds": budget_seconds,
    }
    for name, tuner in TUNERS.items():
        show(f"KerasTuner, {tuner}, {minutes:g} minutes")
        points[name] = in_fresh_process(_peer_search, tuner=tuner, texts=texts, **shared)
    target = target_of(points)
    if target is not None:
        show(f"this program, until validation accuracy {target[0]:.4f} or {minutes:g} minutes")
        own: dict[str, Any] = {
            "data": settings.data,
            "n_workers": settings.n_workers,
            "target": target[0],
        }
        points["ours"] = in_fresh_process(search_until, **own, **shared)
    ratio, note = ratio_of(target, points.get("ours", []))
    return {
        **figures(
            {"ratio_time_to_accuracy": ratio},
            notes={"ratio_time_to_accuracy": note} if note else None,
        ),
        "minutes": minutes,
        "epochs": epochs,
        "target": None if target is None else target[0],
        "kerastuner_seconds": None if target is None else target[1],
        "best_over_time": {name: best_over_time(side) for name, side in points.items()},
        "every_epoch": points,
    }


def _peer_search(**arguments: Any) -> Points:
    from benchmarks.peers import kerastuner_peer

    return kerastuner_peer.search(**arguments)


def search_until(
    *,
    data: DataConfig,
    seed: int,
    epochs: int,
    n_workers: int,
    target: float,
    budget_seconds: float,
) -> Points:
    """Search until the validation accuracy of an epoch is at least `target`, or the time is over.

    The search is ended as users end it, by the signal of Ctrl-C.

    Returns:
        The seconds since the start and the accuracy of every epoch.
    """
    points: Points = []
    config = ours.study_config(
        "time_to_accuracy", data, seed=seed, train=TrainConfig(epochs=epochs)
    )
    with tempfile.TemporaryDirectory() as folder:
        study_dir = ResultsDir(Path(folder)).study(config.study)
        started = time.perf_counter()

        def look(progressed: Progressed) -> None:
            epoch = re.match(r"trial (\d+) epoch \d+:", progressed.event)
            if epoch and not reached(points, target):
                accuracy = round(
                    read_history(study_dir.history_path(int(epoch[1])))[-1]["val_accuracy"], DIGITS
                )
                points.append(
                    {"seconds": round(time.perf_counter() - started, 3), "val_accuracy": accuracy}
                )
                if reached(points, target):
                    signal.raise_signal(signal.SIGINT)

        limits: dict[str, Any] = {"n_trials": MANY_TRIALS, "timeout_seconds": budget_seconds}
        ours.search(config, folder=Path(folder), n_workers=n_workers, on_change=look, **limits)
    return points


def reached(points: Points, target: float) -> bool:
    """Whether the last epoch has reached the target."""
    return bool(points) and points[-1]["val_accuracy"] >= target


def best_over_time(points: Points) -> Points:
    """The epochs whose accuracy is above that of all epochs before them."""
    best: Points = []
    for point in points:
        if not best or point["val_accuracy"] > best[-1]["val_accuracy"]:
            best.append(point)
    return best


def target_of(points: dict[str, Points]) -> tuple[float, float] | None:
    """The best accuracy of KerasTuner's better tuner, and the seconds when the tuner first reached
    it; None if no epoch ended in time.
    """
    bests = [best_over_time(epochs)[-1] for epochs in points.values() if epochs]
    if not bests:
        return None
    best = max(bests, key=lambda point: (point["val_accuracy"], -point["seconds"]))
    return best["val_accuracy"], best["seconds"]


def ratio_of(
    target: tuple[float, float] | None, own: Sequence[dict[str, float]]
) -> tuple[float | None, str]:
    """KerasTuner's seconds divided by this program's, and an empty note; or None and the reason."""
    if target is None:
        return None, "KerasTuner ended no epoch in the time"
    accuracy, seconds = target
    mine = next((point["seconds"] for point in own if point["val_accuracy"] >= accuracy), None)
    return (
        (None, f"this program did not reach {accuracy:.4f} in the time")
        if mine is None
        else (seconds / mine, "")
    )
