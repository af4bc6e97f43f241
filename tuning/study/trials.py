"""What one trial says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from optuna.trial import FrozenTrial, TrialState

from tuning.config import sign
from tuning.spaces.hyperparameters import from_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


def busy_seconds(seconds: Mapping[str, float]) -> float:
    """What a training cost its worker, of its seconds by phase: neither waiting nor the
    coordinator's storage.
    """
    return sum(value for phase, value in seconds.items() if phase not in ("idle", "storage"))


def value_of(trial: FrozenTrial) -> float:
    """The metric of a completed trial, or of a baseline over a limit, which Optuna is not told as
    complete.
    """
    if trial.state != TrialState.COMPLETE:
        return float(trial.user_attrs["best_value"])
    assert trial.values is not None  # for mypy: a completed trial has them
    return float(trial.values[0])


def costs_of(trial: FrozenTrial) -> tuple[float, ...]:
    """The objectives of a completed trial beside the metric; of all of them, less is better."""
    return tuple((trial.values or ())[1:])


def is_over_limit(trial: FrozenTrial) -> bool:
    """Whether a trial's model is larger or slower than the study allows."""
    return any(violation > 0 for violation in trial.constraints.values())


def values_of(trial: FrozenTrial, space: SearchSpace) -> Values:
    """A trial's hyperparameters, fixed ones included."""
    return from_params(trial.params, space.hyperparameters)


def is_pruned_early(trial: FrozenTrial) -> bool:
    """Whether a trial was trained, and given up before its last epoch: not one over a limit, and no
    copy of another.
    """
    own = not is_over_limit(trial) and "same_as" not in trial.user_attrs
    return trial.state == TrialState.PRUNED and own and bool(trial.user_attrs.get("n_epochs"))


def rank(complete: Iterable[FrozenTrial], metric: str) -> list[FrozenTrial]:
    """Completed trials, best first by the metric; equal ones by their costs, then in order of
    number.
    """
    towards = sign(metric)
    return sorted(complete, key=lambda t: (-towards * value_of(t), costs_of(t), t.number))
