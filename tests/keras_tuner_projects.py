"""Projects of KerasTuner, written by its own oracle without a training."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import keras_tuner

from tuning.spaces.ranges import Values

HIGHER = {"val_accuracy", "val_auc", "val_binary_accuracy"}


def write_project(
    folder: Path, trials: Sequence[tuple[Values, float]], *, objective: str = "val_accuracy"
) -> Path:
    """Write a project whose trials have these values and scores, and return its folder. The score
    is that of the second of two epochs.
    """
    # KerasTuner's oracle calls functions of `threading` that are deprecated.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        _run_oracle(folder, trials, objective=objective)
    return folder / "project"


def _run_oracle(folder: Path, trials: Sequence[tuple[Values, float]], *, objective: str) -> None:
    direction = "max" if objective in HIGHER else "min"
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective(objective, direction), max_trials=len(trials), seed=1
    )
    oracle.verbose = 0
    oracle._set_project_dir(folder, "project")
    for values, score in trials:
        hp = keras_tuner.HyperParameters()
        for name, value in values.items():
            hp.Fixed(name, value)
        oracle.hyperparameters = hp
        trial = oracle.create_trial("tuner0")
        worse = score - 0.1 if direction == "max" else score + 0.1
        for step, value in enumerate((worse, score)):
            metrics = {"accuracy": 0.9, "loss": 0.5, objective: value}
            oracle.update_trial(trial.trial_id, metrics, step=step)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    oracle.save()
