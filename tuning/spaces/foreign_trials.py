"""Trials of other programs: rows of CSV files, and the JSON files of KerasTuner 1.4. KerasTuner
itself is not imported.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuning.errors import StudyError
from tuning.spaces.ranges import Hyperparameter, Value


@dataclass(frozen=True, kw_only=True)
class ForeignTrial:
    """A trial of another program, or a row of a file. The values are not checked; `scores` is empty
    for a configuration that was not trained, and `best_epoch` counts from 1.
    """

    name: str
    values: Mapping[str, Any]
    scores: tuple[float, ...] = ()
    best_epoch: float | None = None


def by_name(hyperparameters: Sequence[Hyperparameter]) -> dict[str, list[Hyperparameter]]:
    """Return the hyperparameters of each name: several of a name have different conditions."""
    items: dict[str, list[Hyperparameter]] = {}
    for item in hyperparameters:
        items.setdefault(item.name, []).append(item)
    return items


def read_rows(
    path: Path, hyperparameters: Sequence[Hyperparameter]
) -> tuple[list[ForeignTrial], list[str]]:
    """Return the rows of a CSV file whose columns are hyperparameters, and a sentence about other
    columns. Empty cells are left out.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows, columns = [*reader], [*(reader.fieldnames or ())]
    except (OSError, ValueError, csv.Error) as error:
        raise StudyError(
            f"configurations must be a CSV file with a line of names; reading {path} gave: {error}."
        ) from error
    # A number such as 1,000 is two cells. `DictReader` has the cells beyond the header under None.
    if long := [number for number, row in enumerate(rows, start=1) if None in row]:
        raise StudyError(
            f"configurations must have a value for each name; row {long[0]} of {path} has more."
            " Write numbers without separators, or quote the value."
        )
    received = f"configurations must have a column for a hyperparameter; {path} has"
    return _trials(rows, columns, hyperparameters, received=received)


def read_records(
    records: Sequence[Mapping[str, Any]], hyperparameters: Sequence[Hyperparameter]
) -> tuple[list[ForeignTrial], list[str]]:
    """Return dicts as trials without values of None, and a sentence about unknown names."""
    names = [*dict.fromkeys(name for record in records for name in record)]
    received = "Configurations must name a hyperparameter; they have"
    return _trials(records, names, hyperparameters, received=received)


def _trials(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    hyperparameters: Sequence[Hyperparameter],
    *,
    received: str,
) -> tuple[list[ForeignTrial], list[str]]:
    known = by_name(hyperparameters)
    if not set(names) & set(known):
        raise StudyError(
            f"{received} {', '.join(map(str, names)) or 'no columns'}, and the space has"
            f" {', '.join(known)}."
        )
    trials = [
        ForeignTrial(
            name=f"row {number}",
            values={
                name: _value(value, known[name])
                for name, value in row.items()
                if name in known and value is not None and str(value).strip()
            },
        )
        for number, row in enumerate(rows, start=1)
    ]
    other = [str(name) for name in names if name not in known]
    sentence = f"Columns that are not hyperparameters are left out: {', '.join(other)}."
    return trials, [sentence] if other else []


def _value(value: Any, items: Sequence[Hyperparameter]) -> Any:
    if isinstance(value, str):
        return _cell(value, items)
    value = value.item() if isinstance(value, np.generic) else value
    # pandas stores the integers of a column with an empty cell as floats.
    is_integer = isinstance(value, float) and value.is_integer()
    return int(value) if is_integer and all(type(item.default) is int for item in items) else value


def _cell(text: str, items: Sequence[Hyperparameter]) -> Any:
    """Return the text of a cell as a value; a text that is not a value stays a text."""
    text = text.strip()
    for item in items:
        for choice in item.choices or (item.default,):
            if str(choice).lower() == text.lower() and isinstance(choice, bool | str):
                return choice
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


ORACLE = "oracle.json"
# For each metric of a study, the metrics of KerasTuner that measure the same.
SAME = {
    "val_accuracy": (
        *("val_accuracy", "val_acc", "val_binary_accuracy"),
        *("val_categorical_accuracy", "val_sparse_categorical_accuracy"),
    ),
    "val_mae": ("val_mae", "val_mean_absolute_error"),
    "val_rmse": ("val_rmse", "val_root_mean_squared_error"),
    "val_r2": ("val_r2", "val_r2_score"),
}


def read_project(
    folder: Path, *, metric: str, sign: int, is_binary: bool = True
) -> tuple[list[ForeignTrial], list[str]]:
    """Return the trials of a KerasTuner project that have a score, best first, and a sentence for
    each trial that is left out. `sign` is 1 for an objective that is maximized, else -1.
    `is_binary`: whether the study has two classes; of more, `binary_accuracy` counts columns.
    """
    if not (folder / ORACLE).is_file():
        inner = sorted(path.parent.name for path in folder.glob(f"*/{ORACLE}"))
        hint = f" Its folder {inner[0]} has one: name that folder." if inner else ""
        raise StudyError(
            f"project must be the folder of a KerasTuner project; {folder} has no {ORACLE}: it is"
            f" another folder, or the search was stopped before its first trial.{hint}"
        )
    same = [n for n in SAME.get(metric, ()) if is_binary or n != "val_binary_accuracy"]
    trials, left_out = [], []
    for path in sorted(folder.glob("trial_*/trial.json")):
        name = f"trial {path.parent.name.removeprefix('trial_')}"
        try:
            stored = json.loads(path.read_bytes())
            trials.append(_trial(stored, name, metric=metric, same=same, sign=sign))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            other = f"{path} is not whole, or not of KerasTuner 1.4"
            reason = str(error) if isinstance(error, _Unusable) else other
            left_out.append(f"{name} is left out: {reason}.")
    if not trials:
        reasons = " ".join(left_out[:3]) or "It has no trial."
        raise StudyError(
            f"A KerasTuner project must have a trial with a score of {metric}; {folder} has none."
            f" {reasons}"
        )
    return sorted(trials, key=lambda trial: -sign * trial.scores[0]), left_out


class _Unusable(ValueError):
    """Raised for a trial that is whole and can't be used."""


def _trial(stored: Any, name: str, *, metric: str, same: Sequence[str], sign: int) -> ForeignTrial:
    score, values = stored["score"], stored["hyperparameters"]["values"]
    metrics = stored["metrics"]["metrics"]
    if stored["status"] != "COMPLETED" or score is None or not math.isfinite(score):
        raise _Unusable(f"its status is {stored['status']}, and its score is {score}")
    direction = "max" if sign > 0 else "min"
    metric = next((name for name in same if name in metrics), metric)
    if metric not in metrics or metrics[metric]["direction"] != direction:
        raise _Unusable(f"it has no {metric} to {direction}imize, but {', '.join(metrics)}")
    by_step = {
        int(seen["step"]): math.fsum(seen["value"]) / len(seen["value"])
        for seen in metrics[metric]["observations"]
    }
    best = max(by_step.values(), key=lambda value: sign * value)
    # The score is a value of KerasTuner's objective, which may be another metric.
    if not math.isclose(best, score, rel_tol=1e-6):
        raise _Unusable(f"its score is {score:.7g}, which is not its {metric} of {best:.7g}")
    if not isinstance(values, dict):
        raise TypeError
    # Hyperband stores its bracket, its round and the number of epochs beside the hyperparameters.
    values = {name: value for name, value in values.items() if not name.startswith("tuner/")}
    step = stored["best_step"]  # KerasTuner counts epochs from 0.
    return ForeignTrial(name=name, values=values, scores=(float(score),), best_epoch=int(step) + 1)


def to_config(items: Sequence[Hyperparameter], values: Mapping[str, Value]) -> dict[str, Any]:
    """Return a space and the values of one configuration as the config of a
    `keras_tuner.HyperParameters`.

    A range on a log scale with a factor is a choice there, as it is in the study.
    """
    return {"space": [_serialized(item) for item in items], "values": dict(values)}


def _serialized(item: Hyperparameter) -> dict[str, Any]:
    conditions = [
        {"class_name": "Parent", "config": {"name": parent, "values": list(allowed)}}
        for parent, allowed in item.conditions
    ]
    kind = item.kind.capitalize()
    config: dict[str, Any] = {"default": item.default}
    if kind == "Fixed":
        config = {"value": item.default}
    elif set(map(type, item.choices)) == {bool}:
        kind = "Boolean"
    elif kind == "Choice":
        config |= {"values": list(item.choices), "ordered": False}
    else:
        sampling = "log" if item.log else "linear"
        limits = {"min_value": item.low, "max_value": item.high, "step": item.step}
        config |= limits | {"sampling": sampling}
    return {
        "class_name": kind,
        "config": {"name": item.name, "conditions": conditions, **config},
    }
