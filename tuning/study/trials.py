"""Values and properties of one trial, and the order of trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from optuna.trial import FrozenTrial, TrialState

from tuning.config import sign
from tuning.fidelity import epochs_at
from tuning.spaces.hyperparameters import from_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
# Attribute of a trial: the number of parts of an epoch. A step of Optuna's intermediate values is
# one part; without the attribute it is an epoch.
PARTS = "parts_per_epoch"
# Attribute of a trial that trains a starting point of the search space: its number, from 1.
STARTING_POINT = "starting_point"


def busy_seconds(seconds: Mapping[str, float]) -> float:
    """Return the seconds for which a training kept its worker busy, which are the seconds of all
    phases except waiting and the coordinator's storage.
    """
    return sum(value for phase, value in seconds.items() if phase not in ("idle", "storage"))


def value_of(trial: FrozenTrial) -> float:
    """Return the metric of a completed trial, or of a baseline that is over a limit, which is
    stored as PRUNED.
    """
    if trial.state != TrialState.COMPLETE:
        return float(trial.user_attrs["best_value"])
    assert trial.values is not None  # For mypy: a completed trial has values.
    return float(trial.values[0])


def costs_of(trial: FrozenTrial) -> tuple[float, ...]:
    """Return the objectives of a completed trial beside the metric; all of them are minimized."""
    return tuple((trial.values or ())[1:])


def is_over_limit(trial: FrozenTrial) -> bool:
    """Return whether a trial's model is larger or slower than the study allows."""
    return any(violation > 0 for violation in trial.constraints.values())


def epoch_values(trial: FrozenTrial) -> dict[float, float]:
    """Return the metric after each evaluated epoch of a trial, by the number of epochs."""
    parts = int(trial.user_attrs.get(PARTS, 1))
    steps = sorted(trial.intermediate_values)
    return {epochs_at(step, parts): trial.intermediate_values[step] for step in steps}


def values_of(trial: FrozenTrial, space: SearchSpace) -> Values:
    """Return a trial's hyperparameters, fixed ones included.

    Raises:
        SpaceError: the trial has no value for a hyperparameter of the space.
    """
    return from_params(trial.params, space.hyperparameters)


def starting_point_text(trial: FrozenTrial) -> str:
    """Return "starting point 2" for a trial of a starting point; empty for any other trial."""
    number = trial.user_attrs.get(STARTING_POINT)
    return "" if number is None else f"starting point {number}"


def is_pruned_early(trial: FrozenTrial) -> bool:
    """Return whether a pruner stopped the training of a trial before its last epoch. False for a
    trial that is over a limit, and for the copy of another trial.
    """
    own = not is_over_limit(trial) and "same_as" not in trial.user_attrs
    return trial.state == TrialState.PRUNED and own and bool(trial.user_attrs.get("n_epochs"))


def rank(complete: Iterable[FrozenTrial], metric: str) -> list[FrozenTrial]:
    """Sort completed trials, best first: by the metric, then by their costs, then by number."""
    towards = sign(metric)
    return sorted(complete, key=lambda t: (-towards * value_of(t), costs_of(t), t.number))
