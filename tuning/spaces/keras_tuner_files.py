"""The JSON files of KerasTuner 1.4: the trials in a project's folder, and hyperparameters as
`keras_tuner.HyperParameters.from_config` reads them. KerasTuner itself is not imported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.errors import StudyError
from tuning.spaces.foreign_trials import ForeignTrial
from tuning.spaces.ranges import Hyperparameter, Value

ORACLE = "oracle.json"
# Metrics that KerasTuner may have as its objective → that measure the same here.
SAME = {
    "val_accuracy": (
        *("val_accuracy", "val_acc", "val_binary_accuracy"),
        *("val_categorical_accuracy", "val_sparse_categorical_accuracy"),
    )
}
LAYOUT = "KerasTuner 1.4 writes oracle.json and trial_*/trial.json into the folder of a project"


def read_project(folder: Path, *, metric: str, sign: int) -> tuple[list[ForeignTrial], list[str]]:
    """Return the trials of a KerasTuner project that have a score, best first, and a sentence for
    each trial that is left out.

    Args:
        folder: the folder of the project.
        metric: Keras' log name of the objective.
        sign: 1 for an objective that is maximized, -1 for one that is minimized.

    Raises:
        StudyError: the folder is not a project of KerasTuner, has another layout, or has no trial
            with a score of this objective.
    """
    _require_oracle(folder)
    trials, left_out = [], []
    for path in sorted(folder.glob("trial_*/trial.json")):
        name = f"trial {path.parent.name.removeprefix('trial_')}"
        try:
            trials.append(_trial(_read(path), name, metric=metric, sign=sign))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, _Unusable) else f"{path} is not whole"
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


def _require_oracle(folder: Path) -> None:
    """Check that a folder is the folder of a project.

    Raises:
        StudyError: `oracle.json` is missing, not whole, or of another layout.
    """
    path = folder / ORACLE
    if not path.is_file():
        inner = sorted(p.parent.name for p in folder.glob(f"*/{ORACLE}"))
        hint = f" Its folder {inner[0]} has one: name that folder." if inner else ""
        raise StudyError(
            f"project must be the folder of a KerasTuner project; {folder} has no {ORACLE}: it is"
            f" another folder, or the search was stopped before its first trial.{hint}"
        )
    try:
        oracle = _read(path)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"A KerasTuner project must have a whole {ORACLE}; reading {path} gave: {error}. Wait"
            " until the search is finished."
        ) from error
    space = oracle.get("hyperparameters") if isinstance(oracle, dict) else None
    if not isinstance(space, dict) or not isinstance(space.get("space"), list):
        raise StudyError(
            f"A KerasTuner project must have the layout of KerasTuner 1.4; {path} has another."
            f" {LAYOUT}."
        )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _trial(stored: Any, name: str, *, metric: str, sign: int) -> ForeignTrial:
    """Return one trial.

    Raises:
        _Unusable: the trial has no score, or a score of another objective.
        ValueError, KeyError, TypeError, AttributeError: the trial has another layout.
    """
    score, values = stored["score"], stored["hyperparameters"]["values"]
    metrics = stored["metrics"]["metrics"]
    if stored["status"] != "COMPLETED" or score is None or not math.isfinite(score):
        raise _Unusable(f"its status is {stored['status']}, and its score is {score}")
    direction = "max" if sign > 0 else "min"
    metric = next((name for name in SAME.get(metric, ()) if name in metrics), metric)
    if metric not in metrics or metrics[metric]["direction"] != direction:
        raise _Unusable(f"it has no {metric} to {direction}imize, but {', '.join(metrics)}")
    by_step = {
        int(seen["step"]): math.fsum(seen["value"]) / len(seen["value"])
        for seen in metrics[metric]["observations"]
    }
    best = max(by_step.values(), key=lambda value: sign * value)
    if not math.isclose(best, score, rel_tol=1e-6):
        raise _Unusable(f"its score is {score:.4f}, which is not its {metric} of {best:.4f}")
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
    return {
        "space": [
            {"class_name": _class_name(item), "config": _item_config(item)} for item in items
        ],
        "values": dict(values),
    }


def _class_name(item: Hyperparameter) -> str:
    if set(map(type, item.choices)) == {bool}:
        return "Boolean"
    return item.kind.capitalize()


def _item_config(item: Hyperparameter) -> dict[str, Any]:
    conditions = [
        {"class_name": "Parent", "config": {"name": parent, "values": list(allowed)}}
        for parent, allowed in item.conditions
    ]
    config: dict[str, Any] = {"name": item.name, "conditions": conditions}
    kind = _class_name(item)
    if kind == "Fixed":
        return config | {"value": item.default}
    config["default"] = item.default
    if kind == "Choice":
        return config | {"values": list(item.choices), "ordered": False}
    if kind == "Boolean":
        return config
    sampling = "log" if item.log else "linear"
    limits = {"min_value": item.low, "max_value": item.high, "step": item.step}
    return config | limits | {"sampling": sampling}
