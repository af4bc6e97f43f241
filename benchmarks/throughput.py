"""Finished trials per hour: this program and its peers train the same lists of trials for all their
epochs.

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
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.configurations import default_space_path, fixed_list, starting_points
from benchmarks.data import write_corpus
from benchmarks.goals import figure
from benchmarks.record import markdown_table
from benchmarks.settings import Settings
from benchmarks.sides import Sides
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
# The lines of the table for each side: key in the record, name and format.
SIDE_VALUES = (
    ("trials_an_hour", "trials per hour", "{:.1f}"),
    ("seconds", "wall seconds", "{:.1f}"),
    ("cpu_seconds", "CPU seconds", "{:.1f}"),
    ("mean_val_accuracy", "mean validation accuracy", "{:.4f}"),
)


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
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
        trained = sides.measure((PEERS | OURS)[side], function, **arguments)
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
    ratios = {f"ratio_{peer}": ratio_of(*pair) for peer, pair in pairs.items()}
    sides.show(table(ratios, measured))
    of_goals = ("ratio_kerastuner_random", "ratio_optuna_script")
    return {
        **{name: figure(name, ratios[name]["wall"], cpu=ratios[name]["cpu"]) for name in of_goals},
        "ratios": ratios,
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


def table(ratios: Mapping[str, dict[str, float]], measured: Mapping[str, Any]) -> str:
    rows = [
        (f"{peer}: ratio of {words} seconds", f"{ratios[f'ratio_{name}'][kind]:.2f} ×")
        for name, peer in PEERS.items()
        for kind, words in (("wall", "wall"), ("cpu", "CPU"))
    ]
    rows += [
        (f"{side}: {words}", form.format(measured[name][key]))
        for name, side in (OURS | PEERS).items()
        for key, words, form in SIDE_VALUES
    ]
    return markdown_table(("figure", "measured"), rows)
