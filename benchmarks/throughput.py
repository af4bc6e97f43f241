"""Finished trials per hour: this program, KerasTuner and a plain Optuna script train the same 8
trials for all their epochs.

The sides run one after the other, each in a fresh process with the whole machine, on the same rows,
with the same seed, epochs and batch size. The measured times favor the peers: a peer's time begins
when its texts are in memory and TensorFlow is loaded, this program's before it reads the file.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks import ours
from benchmarks.configurations import EPOCHS, fixed_list
from benchmarks.goals import figures
from benchmarks.processes import in_fresh_process
from benchmarks.settings import Settings
from benchmarks.texts import peer_texts
from tuning.data.splits import SplitReviews

PEERS = {"kerastuner_random": "KerasTuner's RandomSearch", "optuna_script": "a plain Optuna script"}


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """The trials of every side with their seconds and accuracies, and the ratios of the times."""
    configurations = fixed_list()[: settings.size(8, tiny=2)]
    epochs = settings.size(EPOCHS, tiny=1)
    shared: dict[str, Any] = {
        "configurations": configurations,
        "epochs": epochs,
        "seed": settings.seed,
        "log_path": settings.log_path,
    }
    sides: dict[str, dict[str, Any]] = {}
    show(f"this program, {len(configurations)} trials of {epochs} epochs")
    sides["ours"] = in_fresh_process(
        ours.train_list, data=settings.data, n_workers=settings.n_workers, **shared
    )
    texts = peer_texts(splits)
    for name, words in PEERS.items():
        show(f"{words}, the same trials")
        sides[name] = in_fresh_process(_train_by_peer, name=name, texts=texts, **shared)
    summaries = {name: {**side, **summary_of(side)} for name, side in sides.items()}
    own = summaries["ours"]
    return {
        **figures({f"ratio_{name}": summaries[name]["seconds"] / own["seconds"] for name in PEERS}),
        "ratios_without_our_start": {
            f"ratio_{name}": summaries[name]["seconds"] / own["search_seconds"] for name in PEERS
        },
        "accuracy_differences": {
            name: own["mean_val_accuracy"] - summaries[name]["mean_val_accuracy"] for name in PEERS
        },
        "epochs": epochs,
        "sides": summaries,
    }


def _train_by_peer(*, name: str, **arguments: Any) -> dict[str, Any]:
    """Call the peer's `train_list`; its packages are imported before its time is measured."""
    if name == "optuna_script":
        from benchmarks.peers import optuna_peer

        return optuna_peer.train_list(**arguments)
    from benchmarks.peers import kerastuner_peer

    return kerastuner_peer.train_list(**arguments)


def summary_of(side: dict[str, Any]) -> dict[str, float]:
    """Finished trials per hour of the whole call, and the mean over the trials of the validation
    accuracy of the best epoch.
    """
    return {
        "trials_an_hour": round(3600 * len(side["trials"]) / side["seconds"], 2),
        "mean_val_accuracy": round(
            statistics.mean(trial["val_accuracy"] for trial in side["trials"]), 5
        ),
    }
