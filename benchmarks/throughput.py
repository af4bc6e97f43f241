"""Finished trials per hour on up to three data sets: this program and its peers train the same
lists of trials for all their epochs.

This program, KerasTuner and a plain Optuna script train 8 configurations of one small space. In
addition, this program and KerasTuner train one configuration of each architecture of the default
search space. fastText is in `benchmarks.time_to_accuracy`: its trials are other models, so their
number an hour can't be compared.

The sides run one after the other, each in a fresh process with the whole machine, on the same rows,
with the same seed, epochs and batch size. The measured times favor the peers: a peer's time begins
when its texts are in memory and TensorFlow is loaded, this program's before it reads the file.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import default_space, ours
from benchmarks.configurations import EPOCHS, fixed_list
from benchmarks.goals import figures
from benchmarks.processes import in_fresh_process
from benchmarks.rows import write_reviews
from benchmarks.settings import Settings
from benchmarks.sides import sides_of
from benchmarks.texts import load_split, peer_texts
from tuning.config import SPLITS, DataConfig
from tuning.data.splits import SplitReviews

PEERS = {"kerastuner_random": "KerasTuner's RandomSearch", "optuna_script": "a plain Optuna script"}
# The two sides of a ratio: the peer, and the side of this program.
RATIOS = {
    **{f"ratio_{name}": (name, "ours") for name in PEERS},
    "ratio_kerastuner_default_space": ("kerastuner_default_space", "ours_default_space"),
}
N_TINY_ROWS = 300


@dataclass(frozen=True)
class Source:
    """A data set of the benchmark. `missing` is the reason why it can't be measured, or empty."""

    name: str
    data: DataConfig
    missing: str = ""


def sources(settings: Settings) -> list[Source]:
    """Return the film reviews, the Amazon reviews, and the data set of the call if it is another
    one.
    """
    amazon, own = DataConfig(data=settings.amazon), settings.data
    if _is_same_file(own.data, amazon.data):
        amazon = own
    there = Path(amazon.data).exists()
    always = [
        Source("film reviews", DataConfig()),
        Source("Amazon reviews", amazon, "" if there else f"the file {amazon.data} does not exist"),
    ]
    if own not in (DataConfig(), amazon):
        name = own.data if ":" in own.data else Path(own.data).name
        return [*always, Source(name, own)]
    return [*always, Source("a file of yours", own, "no other file was given with DATA=")]


def _is_same_file(path: str, other_path: str) -> bool:
    return Path(path).absolute() == Path(other_path).absolute()


def measure(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """Return the result of `measure_set` for each data set, and the smallest ratios."""
    data_sets, missing = [], []
    for source in sources(settings):
        if source.missing:
            show(f"{source.name}: not measured, because {source.missing}")
            missing.append({"name": source.name, "reason": source.missing})
            continue
        show(source.name)
        has_it = source.data == settings.data
        of_source = splits if has_it else load_split(source.data, seed=settings.seed)
        data_sets.append(
            {"name": source.name, **_measure_source(settings, source, of_source, show)}
        )
    worst = {
        name: min(
            (data_set["ratios"][name] for data_set in data_sets), key=lambda ratio: ratio["wall"]
        )
        for name in (f"ratio_{peer}" for peer in PEERS)
    }
    return {
        **figures(
            {name: ratio["wall"] for name, ratio in worst.items()},
            cpu={name: ratio["cpu"] for name, ratio in worst.items()},
        ),
        "data_sets": data_sets,
        "missing": missing,
    }


def _measure_source(
    settings: Settings, source: Source, splits: SplitReviews, show: Callable[[str], None]
) -> dict[str, Any]:
    """Measure a data set, or with `--tiny` a few of its rows."""
    if not settings.tiny:
        return measure_set(replace(settings, data=source.data), splits, show=show)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.parquet"
        write_reviews(splits=splits, path=path, n_rows=N_TINY_ROWS, seed=settings.seed)
        data = DataConfig(data=str(path), text_column="text", label_column="label")
        return measure_set(
            replace(settings, data=data), load_split(data, seed=settings.seed), show=show
        )


def measure_set(
    settings: Settings, splits: SplitReviews, *, show: Callable[[str], None]
) -> dict[str, Any]:
    """Return the trials of every side on one data set with their seconds and accuracies, and the
    ratios of the wall and CPU times.
    """
    sides = sides_of(settings, show=show)
    trials_by_side = {
        **_same_space(settings, splits, sides.measure, show=show),
        **_default_space(settings, splits, sides.measure, show=show),
    }
    summaries = {name: {**side, **summary_of(side)} for name, side in trials_by_side.items()}
    return {
        "data": {
            "name": settings.data.data,
            "fingerprint": splits.fingerprint,
            "n_rows": {name: len(splits.frames[name]) for name in SPLITS},
        },
        "ratios": {
            name: ratio_of(summaries[peer], summaries[own]) for name, (peer, own) in RATIOS.items()
        },
        "ratios_without_our_start": {
            name: summaries[peer]["seconds"] / summaries[own]["search_seconds"]
            for name, (peer, own) in RATIOS.items()
        },
        "accuracy_differences": {
            name: summaries[own]["mean_val_accuracy"] - summaries[peer]["mean_val_accuracy"]
            for name, (peer, own) in RATIOS.items()
        },
        "sides": summaries,
        "noise": sides.record(),
    }


def _same_space(
    settings: Settings,
    splits: SplitReviews,
    measured: Callable[[str, Callable[[], Any]], Any],
    *,
    show: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Measure the sides that train the fixed list."""
    shared: dict[str, Any] = {
        "configurations": fixed_list()[: settings.size(8, tiny=2)],
        "epochs": settings.size(EPOCHS, tiny=1),
        "seed": settings.seed,
        "log_path": settings.log_path,
    }
    own: dict[str, Any] = {"data": settings.data, "n_workers": settings.n_workers}
    show(f"this program, {len(shared['configurations'])} trials of {shared['epochs']} epochs")
    trials_by_side = {
        "ours": measured("ours", partial(in_fresh_process, ours.train_list, **own, **shared))
    }
    texts = peer_texts(splits)
    for name, words in PEERS.items():
        show(f"{words}, the same trials")
        train = partial(in_fresh_process, _train_by_peer, name=name, texts=texts, **shared)
        trials_by_side[name] = measured(name, train)
    return trials_by_side


def _default_space(
    settings: Settings,
    splits: SplitReviews,
    measured: Callable[[str, Callable[[], Any]], Any],
    *,
    show: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Measure the sides that train a configuration of each architecture of the default space."""
    points = default_space.starting_points()
    shared: dict[str, Any] = {
        "configurations": points[: settings.size(len(points), tiny=3)],
        "epochs": default_space.EPOCHS,
        "seed": settings.seed,
        "log_path": settings.log_path,
    }
    own: dict[str, Any] = {
        "data": settings.data,
        "n_workers": settings.n_workers,
        "space": str(default_space.space_path()),
    }
    n_trials = len(shared["configurations"])
    show(f"this program, {n_trials} trials of the default space")
    train = partial(in_fresh_process, ours.train_list, **own, **shared)
    trials_by_side = {"ours_default_space": measured("ours_default_space", train)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        in_fresh_process(
            default_space.write_corpus, log_path=settings.log_path, splits=splits, folder=folder
        )
        show("KerasTuner's RandomSearch, the same trials")
        train = partial(in_fresh_process, _train_default_space, corpus_dir=folder, **shared)
        trials_by_side["kerastuner_default_space"] = measured("kerastuner_default_space", train)
    return trials_by_side


def _train_by_peer(*, name: str, **arguments: Any) -> dict[str, Any]:
    """Call the peer's `train_list`; its packages are imported before its time is measured."""
    if name == "optuna_script":
        from benchmarks.peers import optuna_peer

        return optuna_peer.train_list(**arguments)
    from benchmarks.peers import kerastuner_peer

    return kerastuner_peer.train_list(**arguments)


def _train_default_space(**arguments: Any) -> dict[str, Any]:
    from benchmarks.peers import default_space_peer

    return default_space_peer.train_list(**arguments)


def ratio_of(peer: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, float]:
    """Return a peer's wall and CPU seconds, each divided by this program's."""
    return {
        "wall": peer["seconds"] / own["seconds"],
        "cpu": peer["cpu_seconds"] / own["cpu_seconds"],
    }


def summary_of(side: dict[str, Any]) -> dict[str, float]:
    """Return the finished trials per hour of the whole call, and the mean over the trials of the
    validation accuracy of the best epoch.
    """
    return {
        "trials_an_hour": round(3600 * len(side["trials"]) / side["seconds"], 2),
        "mean_val_accuracy": round(
            statistics.mean(trial["val_accuracy"] for trial in side["trials"]), 5
        ),
    }
