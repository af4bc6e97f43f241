"""The remaining time of a search, estimated from the cost of its trials."""

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.search.progress import TimeLeft
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter

LENGTHS = np.full(1000, 100)
RANGE = {"low": 1, "high": 1000, "step": 1}
SPACE = SearchSpace(
    "s",
    (
        Hyperparameter(name="vocab_size", kind="fixed", default=50),
        Hyperparameter(name="sequence_length", kind="int", default=50, **RANGE),
        Hyperparameter(name="lstm_units", kind="int", default=5, **RANGE),
    ),
)


def seconds_of(length: int, units: int) -> float:
    """Return the seconds of an epoch, which follow the formula of the estimate exactly."""
    tokens = 1000 * min(length, 100)
    return 0.5 + 1e-5 * tokens + 1e-6 * tokens * units


def trial(length: int, units: int, *, n_epochs: int | None = 2) -> FrozenTrial:
    params = {"sequence_length": length, "lstm_units": units}
    attributes = (
        {"n_epochs": n_epochs, "seconds": {"train": n_epochs * seconds_of(length, units)}}
        if n_epochs
        else {}
    )
    state = TrialState.COMPLETE if n_epochs else TrialState.RUNNING
    distributions = {name: IntDistribution(1, 1000) for name in params}
    return create_trial(
        state=state,
        value=0.5 if n_epochs else None,
        params=params,
        distributions=distributions,
        user_attrs=attributes,
    )


def stored(*trials: FrozenTrial) -> list[FrozenTrial]:
    study = optuna.create_study()
    study.add_trials(trials)
    return study.get_trials()


def left(
    trials: list[FrozenTrial], running: dict[int, int], *, n_new: int, n_workers: int = 1
) -> float | None:
    return TimeLeft(SPACE, epochs=5, lengths=LENGTHS).seconds(
        trials, running, n_new=n_new, n_workers=n_workers
    )


DONE = [(20, 4), (40, 8), (60, 16), (80, 64)]


def test_nothing_is_said_before_three_trials_are_timed() -> None:
    assert left(stored(*(trial(*done) for done in DONE[:2])), {}, n_new=5) is None


def test_nothing_left_is_0() -> None:
    assert left([], {}, n_new=0) == 0


def test_new_trials_cost_what_the_others_did() -> None:
    trials = stored(*(trial(*done) for done in DONE))
    mean = np.mean([2 * seconds_of(*done) for done in DONE])
    assert left(trials, {}, n_new=10) == pytest.approx(10 * mean)
    assert left(trials, {}, n_new=10, n_workers=2) == pytest.approx(5 * mean)


def test_running_trial_costs_what_its_own_values_say() -> None:
    trials = stored(*(trial(*done) for done in DONE), trial(100, 500, n_epochs=None))
    assert left(trials, {4: 0}, n_new=0) == pytest.approx(2 * seconds_of(100, 500))
    assert left(trials, {4: 1}, n_new=0) == pytest.approx(seconds_of(100, 500))


def test_length_beyond_the_longest_text_costs_no_more() -> None:
    trials = stored(
        *(trial(*done) for done in DONE), trial(100, 8, n_epochs=None), trial(900, 8, n_epochs=None)
    )
    assert left(trials, {4: 0}, n_new=0) == left(trials, {5: 0}, n_new=0)
