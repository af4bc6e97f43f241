"""Values and properties of one trial, and the order of trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict, TypeVar, cast

import numpy as np
from optuna.trial import FrozenTrial, Trial, TrialState

from tuning.fidelity import epochs_at
from tuning.metrics import sign
from tuning.spaces.hyperparameters import from_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values

T = TypeVar("T")

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
# Attributes that a duplicate does not take over from the trial of the same configuration.
OWN_ATTRIBUTES = (
    *("baseline", "starting_point", "linear_ngrams", "n_lost", "n_deaths", "furthest_epoch"),
    *("seconds", "n_tokens", "paused", "retry_of"),
)


class TrialAttributes(TypedDict, total=False):
    """The attributes that this program writes to a trial.

    The metrics of the best epoch are attributes too, with Keras' names; the study's own metric has
    the value of the trial, which may be estimated (`FitResult.best_value`). The attributes from
    `best_epoch` to `peak_memory_mb` are those of a `FitResult`, rounded.

    Attributes:
        seed: seed of the training.
        best_value: value of the metric of a baseline beyond a limit, whose state is PRUNED.
        reason: a `FailureReason`.
        paused: whether the trial has a checkpoint from which it can go on.
        waits_for: number of the open trial with the same configuration.
        same_as: number of the trial whose result this trial has, because it has the same
            configuration.
        baseline: whether the trial is the baseline.
        starting_point: number of the trial's starting point, from 1.
        linear_ngrams: whether the n-grams of the starting point are those of the linear model.
        parts_per_epoch: number of parts of an epoch. A step of Optuna's intermediate values is one
            part; without the attribute a step is an epoch. Step 0 is before the training.
        n_folds: number of folds of the study. A step is then a fold, and `n_epochs` and
            `furthest_epoch` count folds.
        n_fold_epochs: number of trained epochs of all folds.
        retry_of: number of the failed trial whose values the trial has.
        n_lost: number of earlier trials with these values whose worker was lost.
        n_deaths: number of deaths of the search's process since the configuration last trained a
            further epoch.
        furthest_epoch: last epoch that any try of the configuration has trained.
        imported: source of the configuration.
    """

    best_epoch: float
    n_epochs: float
    seconds: dict[str, float]
    n_parameters: int
    latency_ms: float
    n_fused_layers: int
    n_tokens: int
    peak_memory_mb: int
    seed: int
    best_value: float
    reason: str
    paused: bool
    waits_for: int
    same_as: int
    baseline: bool
    starting_point: int
    linear_ngrams: bool
    parts_per_epoch: int
    n_folds: int
    n_fold_epochs: float
    retry_of: int
    n_lost: int
    n_deaths: int
    furthest_epoch: float
    imported: str


def attributes_of(trial: FrozenTrial | Trial) -> TrialAttributes:
    return cast("TrialAttributes", trial.user_attrs)


def set_attributes(trial: Trial, attributes: TrialAttributes) -> None:
    for name, value in attributes.items():
        trial.set_user_attr(name, value)


def seconds_of(trial: FrozenTrial) -> Mapping[str, float]:
    """Return the wall seconds of a trial by phase; empty for a trial that was not trained."""
    return attributes_of(trial).get("seconds", {})


def trial_seconds(trial: FrozenTrial) -> float:
    """Return a trial's wall seconds over all phases but the coordinator's storage."""
    return float(sum(value for phase, value in seconds_of(trial).items() if phase != "storage"))


def busy_seconds(seconds: Mapping[str, float]) -> float:
    """Return the seconds of all phases except waiting and the coordinator's storage."""
    return sum(value for phase, value in seconds.items() if phase not in ("idle", "storage"))


def expected_seconds(trial: FrozenTrial, epochs: float) -> float:
    """Return the busy seconds that a training of a trial's configuration for a number of epochs is
    expected to take; 0 for a trial without times. The training ends with a whole evaluation. With
    folds, all folds are trained for this number of epochs, or as long as the trial's own folds.
    """
    seconds, attributes = seconds_of(trial), attributes_of(trial)
    n_epochs, share = attributes.get("n_epochs", 0), 1.0
    if not seconds or not n_epochs:
        return 0.0
    if n_folds := attributes.get("n_folds"):
        share = n_folds / n_epochs
        n_epochs = (attributes.get("n_fold_epochs") or max(epochs, 1) * n_epochs) / n_epochs
        epochs = min(epochs, n_epochs)
    training = seconds.get("train", 0.0) * epochs / n_epochs
    evaluations = seconds.get("evaluate", 0.0) * max(epochs, 1) / n_epochs
    fixed = busy_seconds(seconds) - seconds.get("train", 0.0) - seconds.get("evaluate", 0.0)
    return share * (fixed + training + evaluations)


def has_value(trial: FrozenTrial) -> bool:
    """Return whether an ended trial has a metric: it is complete, or a baseline over a limit."""
    return trial.state == TrialState.COMPLETE or "best_value" in attributes_of(trial)


def value_of(trial: FrozenTrial) -> float:
    """Return the metric; a baseline over a limit has it in an attribute, because it is PRUNED."""
    if trial.state != TrialState.COMPLETE:
        return attributes_of(trial)["best_value"]
    assert trial.values is not None  # For mypy: a completed trial has values.
    return float(trial.values[0])


def costs_of(trial: FrozenTrial) -> tuple[float, ...]:
    """Return the objectives of a completed trial beside the metric; all of them are minimized."""
    return tuple((trial.values or ())[1:])


def is_over_limit(trial: FrozenTrial) -> bool:
    return any(violation > 0 for violation in trial.constraints.values())


def without_copies(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if "same_as" not in attributes_of(trial)]


def epoch_values(trial: FrozenTrial) -> dict[float, float]:
    """Return number of epochs, or of folds, → metric, for each evaluated epoch or trained fold."""
    parts = attributes_of(trial).get("parts_per_epoch", 1)
    steps = sorted(trial.intermediate_values)
    return {epochs_at(step, parts): trial.intermediate_values[step] for step in steps}


def step_of(trial: FrozenTrial) -> str:
    """Return what a trial reports a value after."""
    return "fold" if "n_folds" in attributes_of(trial) else "epoch"


def values_of(trial: FrozenTrial, space: SearchSpace) -> Values:
    return from_params(trial.params, space.hyperparameters)


def starting_point_text(trial: FrozenTrial) -> str:
    """Return a text such as "starting point 2"; empty for any other trial."""
    attributes = attributes_of(trial)
    return starting_point_name(
        attributes.get("starting_point"), is_linear=attributes.get("linear_ngrams", False)
    )


def starting_point_name(number: int | None, *, is_linear: bool) -> str:
    if number is None:
        return ""
    return f"starting point {number}" + (", the linear model's n-grams" if is_linear else "")


def is_named(trial: FrozenTrial) -> bool:
    """Return whether a trial is the baseline or a starting point."""
    of_trial = attributes_of(trial)
    return of_trial.get("baseline", False) or "starting_point" in of_trial


def was_trained(trial: FrozenTrial) -> bool:
    """Not true of a trial that another program has finished."""
    return "best_epoch" in attributes_of(trial)


def is_pruned_early(trial: FrozenTrial) -> bool:
    """Not true of a trial that is over a limit, or is the copy of another trial."""
    own = not is_over_limit(trial) and "same_as" not in attributes_of(trial)
    return trial.state == TrialState.PRUNED and own and bool(attributes_of(trial).get("n_epochs"))


def rank(complete: Iterable[FrozenTrial], metric: str) -> list[FrozenTrial]:
    direction = sign(metric)
    return sorted(complete, key=lambda t: (-direction * value_of(t), costs_of(t), t.number))


def spread(items: Sequence[T], n: int) -> list[T]:
    """Return `n` items at equal distances, with both ends."""
    positions = np.linspace(0, len(items) - 1, min(n, len(items)))
    return [items[number] for number in sorted({round(position) for position in positions})]


def is_paused(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING and bool(attributes_of(trial).get("paused"))


def is_at_work(trial: FrozenTrial) -> bool:
    """Return whether a trial is being trained: a paused or a waiting trial is RUNNING too."""
    is_waiting = is_paused(trial) or "waits_for" in attributes_of(trial)
    return trial.state == TrialState.RUNNING and not is_waiting
