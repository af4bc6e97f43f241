"""The contents that are written to a tracker: a study and its trials as plain values."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuning.atomic_io import read_history
from tuning.confirmation.record import Confirmation
from tuning.errors import ExportError, SpaceError
from tuning.fidelity import part_at
from tuning.inference.manifest import read_manifest
from tuning.report.sentences import verdict
from tuning.results import StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values
from tuning.study.study import StudyRecord
from tuning.study.summary import Summary, best_of
from tuning.study.trials import (
    attributes_of,
    busy_seconds,
    epoch_values,
    step_of,
    value_of,
    values_of,
)

# Number of hexadecimal digits in the identity of a study.
N_DIGITS = 8
# Attributes of a trial that are words, and attributes that are numbers known at its end.
WORDS = (
    *("reason", "baseline", "starting_point", "linear_ngrams"),
    *("same_as", "retry_of"),
)
NUMBERS = ("n_parameters", "latency_ms", "peak_memory_mb", "n_tokens", "n_epochs", "best_epoch")


@dataclass(frozen=True, kw_only=True)
class TrackedEpoch:
    """The metrics after an epoch of a trial, by Keras' log names, with the number of epochs as
    "epoch". `step` counts epochs, parts of an epoch on a large data set, or folds, and is 0 before
    the training; `seconds` runs from the start of the training.
    """

    step: int
    seconds: float
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrackedTrial:
    """A finished trial: its state is Optuna's in lower case, and its times are seconds since 1970.
    `numbers` are known at its end, with the objective as "value"; `words` are further facts.
    """

    number: int
    state: str
    started: float
    ended: float
    parameters: Values
    epochs: list[TrackedEpoch]
    numbers: dict[str, float]
    words: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TrackedStudy:
    """A study without its trials.

    Args:
        identity: a hash that differs between studies of the same name.
        confirmation: path of confirmation.json; None before a confirmation.
        export: folder of the newest finished export; None before an export.
        exported: time of the export; empty without an export.
    """

    name: str
    identity: str
    created: float
    settings: dict[str, str]
    numbers: dict[str, float]
    verdict: str
    confirmation: Path | None
    export: Path | None
    exported: str


def tracked_study(record: StudyRecord, summary: Summary, folder: StudyDir) -> TrackedStudy:
    confirmation = Confirmation.load(folder)
    best, baseline = best_of(summary, confirmation), summary.baseline
    numbers: dict[str, float] = {f"n_{state}": n for state, n in summary.counts.items()}
    if best is not None:
        numbers |= {"best_trial": best.trial.number, "best_value": value_of(best.trial)}
        if best.is_confirmed and best.mean:
            named = {"mean": best.mean.value, "low": best.mean.low, "high": best.mean.high}
            numbers |= {f"confirmed_{name}": value for name, value in named.items()}
    if baseline is not None:
        numbers["baseline_value"] = value_of(baseline)
    exported = ""
    with contextlib.suppress(ExportError):
        manifest = read_manifest(folder.best_dir)
        exported = f"export of {manifest.created}"
    made_of = json.dumps([folder.name, record.created, record.data_fingerprint])
    return TrackedStudy(
        name=folder.name,
        identity=hashlib.sha256(made_of.encode()).hexdigest()[:N_DIGITS],
        created=datetime.fromisoformat(record.created).timestamp(),
        settings=_settings(record),
        numbers=_finite(numbers),
        verdict=verdict(summary, confirmation),
        confirmation=folder.confirmation_path if confirmation else None,
        export=folder.best_dir if exported else None,
        exported=exported,
    )


def tracked_trial(
    trial: FrozenTrial, space: SearchSpace, folder: StudyDir, *, metric: str
) -> TrackedTrial | None:
    """Return the contents of a trial for a tracker; None for a trial that is not finished, or that
    ended before it had values.
    """
    started, ended = trial.datetime_start, trial.datetime_complete
    if started is None or ended is None:
        return None
    try:
        parameters = values_of(trial, space)
    except SpaceError:  # The coordinator was killed while it drew the values.
        return None
    attributes = trial.user_attrs
    numbers = {name: attributes[name] for name in NUMBERS if name in attributes}
    if trial.state == TrialState.COMPLETE:
        numbers["value"] = value_of(trial)
    if "seconds" in attributes:
        numbers["training_seconds"] = busy_seconds(attributes["seconds"])
    return TrackedTrial(
        number=trial.number,
        state=trial.state.name.lower(),
        started=started.timestamp(),
        ended=ended.timestamp(),
        parameters=parameters,
        epochs=_epochs(trial, folder, metric=metric),
        numbers=_finite(numbers),
        # `same_as` and `retry_of` are numbers of trials, so 0 is a value.
        words={
            name: str(attributes[name])
            for name in WORDS
            if attributes.get(name) is not None and attributes[name] is not False
        },
    )


def _epochs(trial: FrozenTrial, folder: StudyDir, *, metric: str) -> list[TrackedEpoch]:
    """Return the epochs of a trial: with all metrics if this machine trained the trial, else with
    the study's metric, which is in the storage.
    """
    parts, path = attributes_of(trial).get("parts_per_epoch", 1), folder.history_path(trial.number)
    rows = read_history(path) if path.exists() else []
    name = step_of(trial)
    known = [{name: float(step), metric: value} for step, value in epoch_values(trial).items()]
    if len(rows) < len(known) or any(name not in row for row in rows):
        rows = known
    epochs, seconds = [], 0.0
    for row in rows:
        seconds += row.get("seconds", 1.0)
        metrics = {key: value for key, value in row.items() if key not in ("seconds", "fold")}
        step = part_at(row[name], parts)
        epochs.append(TrackedEpoch(step=step, seconds=seconds, metrics=_finite(metrics)))
    return epochs


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return numbers without NaN and infinity, which trackers refuse or draw wrongly."""
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _settings(record: StudyRecord) -> dict[str, str]:
    config = asdict(record.config)
    flat: dict[str, Any] = {
        "data_fingerprint": record.data_fingerprint,
        "space_fingerprint": record.space_fingerprint,
        "git_commit": record.git_commit or "",
        **{f"versions.{name}": version for name, version in record.versions.items()},
    }
    for name, value in config.items():
        inner = value if isinstance(value, dict) else None
        flat |= {f"{name}.{key}": inner[key] for key in inner} if inner else {name: value}
    return {name: str(value) for name, value in flat.items() if value not in (None, "", {}, ())}
