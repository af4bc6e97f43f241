"""Finished trials per hour on up to three data sets: this program and its peers train the same
lists of trials for all their epochs.

This program, KerasTuner and a plain Optuna script train 8 configurations of one small space. In
addition, this program and KerasTuner train one configuration of each architecture of the default
search space. fastText is in `benchmarks.time_to_accuracy`: its trials are other models, so their
number an hour can't be compared.

The sides use the same rows, seed, epochs and batch size. The measured times favor the peers: a
peer's time begins when its texts are in memory and TensorFlow is loaded, this program's before it
reads the file.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.configurations import default_space_path, fixed_list, starting_points
from benchmarks.data import describe_data, load_split, write_corpus
from benchmarks.goals import figure
from benchmarks.record import markdown_table
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from tuning.config import DataConfig
from tuning.data.splits import SplitReviews

EPOCHS = 3
DEFAULT_SPACE_EPOCHS = 1  # the models are larger than those of the fixed list
# The names of the sides in the record and in the table.
PEERS = {
    "kerastuner_random": "KerasTuner's RandomSearch",
    "optuna_script": "the Optuna script",
    "kerastuner_default_space": "KerasTuner, default space",
}
OURS = {"ours": "this program", "ours_default_space": "this program, default space"}
FIGURES = ("ratio_kerastuner_random", "ratio_optuna_script")
# The lines of the table for each side: key in the record, name and format.
SIDE_VALUES = (
    ("trials_an_hour", "trials per hour", "{:.1f}"),
    ("seconds", "wall seconds", "{:.1f}"),
    ("cpu_seconds", "CPU seconds", "{:.1f}"),
    ("mean_val_accuracy", "mean validation accuracy", "{:.4f}"),
)


def sources(settings: Settings) -> dict[str, DataConfig]:
    """Return the film reviews, the Amazon reviews if their file exists, and the data set of the
    call, by name; with `--tiny` only the data set of the call.
    """
    own, amazon = settings.data, Path(settings.amazon)
    if settings.tiny:
        return {Path(own.data).name: own}
    all_sets = {"film reviews": DataConfig()}
    if Path(own.data).absolute() == amazon.absolute():
        return {**all_sets, "Amazon reviews": own}
    if amazon.exists():
        all_sets["Amazon reviews"] = DataConfig(data=settings.amazon)
    if own != DataConfig():
        all_sets[own.data if ":" in own.data else Path(own.data).name] = own
    return all_sets


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
    if not (settings.tiny or Path(settings.amazon).exists()):
        sides.show(f"Amazon reviews: not measured, because the file {settings.amazon} is missing")
    data_sets = []
    for name, data in sources(settings).items():
        rows = splits if data == settings.data else load_split(data, seed=settings.seed)
        data_sets.append(
            {"name": name, **measure_set(replace(settings, data=data), rows, sides, name=name)}
        )
    sides.show(table(data_sets))
    worst = {
        name: min((data_set["ratios"][name] for data_set in data_sets), key=lambda r: r["wall"])
        for name in FIGURES
    }
    return {
        **{name: figure(name, ratio["wall"], cpu=ratio["cpu"]) for name, ratio in worst.items()},
        "data_sets": data_sets,
    }


def measure_set(
    settings: Settings, splits: SplitReviews, sides: Sides, *, name: str
) -> dict[str, Any]:
    own: dict[str, Any] = {"data": settings.data, "n_workers": settings.n_workers}
    fixed: dict[str, Any] = {
        "configurations": fixed_list()[: settings.size(8, tiny=2)],
        "epochs": settings.size(EPOCHS, tiny=1),
        "seed": settings.seed,
    }
    default = {
        "configurations": starting_points()[: settings.size(None, tiny=3)],
        "epochs": DEFAULT_SPACE_EPOCHS,
        "seed": settings.seed,
    }
    measured: dict[str, Any] = {}

    def train(side: str, function: Any, **arguments: Any) -> None:
        trained = sides.measure(f"{name}: {(PEERS | OURS)[side]}", function, **arguments)
        measured[side] = {**trained, **summary_of(trained)}

    peers = "benchmarks.peers"
    train("ours", ours.train_list, **own, **fixed)
    train("kerastuner_random", f"{peers}.kerastuner_peer.train_list", data=splits, **fixed)
    train("optuna_script", f"{peers}.optuna_peer.train_list", splits=splits, **fixed)
    train("ours_default_space", ours.train_list, space=default_space_path(), **own, **default)
    with tempfile.TemporaryDirectory() as folder:
        corpus_dir = Path(folder) / "corpus"
        sides.run(write_corpus, splits=splits, folder=corpus_dir)
        train(
            "kerastuner_default_space",
            f"{peers}.kerastuner_peer.train_list",
            data=corpus_dir,
            **default,
        )
    pairs = {
        peer: (measured[peer], measured["ours_default_space" if "default" in peer else "ours"])
        for peer in PEERS
    }
    return {
        "data": {"name": settings.data.data, **describe_data(splits)},
        "ratios": {f"ratio_{peer}": ratio_of(*pair) for peer, pair in pairs.items()},
        "sides": measured,
    }


def ratio_of(peer: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, float]:
    return {
        "wall": peer["seconds"] / own["seconds"],
        "cpu": peer["cpu_seconds"] / own["cpu_seconds"],
        "without_our_start": peer["seconds"] / own["search_seconds"],
    }


def summary_of(side: Mapping[str, Any]) -> dict[str, float]:
    accuracies = [trial["val_accuracy"] for trial in side["trials"]]
    return {
        "trials_an_hour": round(3600 * len(accuracies) / side["seconds"], 2),
        "mean_val_accuracy": round(statistics.mean(accuracies), 5),
    }


def table(data_sets: list[dict[str, Any]]) -> str:
    rows = []
    for name, peer in PEERS.items():
        for kind, words in (("wall", "wall"), ("cpu", "CPU")):
            ratios = (
                f"{data_set['ratios'][f'ratio_{name}'][kind]:.2f} ×" for data_set in data_sets
            )
            rows.append((f"{peer}: ratio of {words} seconds", *ratios))
    for name, side in (OURS | PEERS).items():
        for key, words, form in SIDE_VALUES:
            values = (form.format(data_set["sides"][name][key]) for data_set in data_sets)
            rows.append((f"{side}: {words}", *values))
    return markdown_table(("figure", *(data_set["name"] for data_set in data_sets)), rows)
