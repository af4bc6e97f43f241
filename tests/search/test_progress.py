"""The remaining time of a search, estimated from the times of its trials."""

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.search.progress import MIN_EPOCHS_LEFT, seconds_left
from tuning.training.result import Epoch


def trial(seconds: float, *, n_epochs: int = 2) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE,
        value=0.5,
        user_attrs={
            "n_epochs": n_epochs,
            "seconds": {"build": 0.25 * seconds, "train": 0.75 * seconds},
        },
    )


def stored(*trials: FrozenTrial) -> list[FrozenTrial]:
    study = optuna.create_study()
    study.add_trials(trials)
    return study.get_trials()


def epochs(n: int, seconds: float) -> list[Epoch]:
    return [Epoch(number, {}, seconds) for number in range(1, n + 1)]


DONE = [trial(1), trial(2, n_epochs=5), trial(90), trial(7, n_epochs=1)]


def test_nothing_is_said_before_three_trials_are_timed() -> None:
    assert seconds_left(stored(*DONE[:2]), [], n_new=5, n_workers=1) is None


def test_nothing_left_is_0() -> None:
    assert seconds_left([], [], n_new=0, n_workers=2) == 0


def test_new_trials_take_as_long_as_the_others_did() -> None:
    trials = stored(*DONE)
    assert seconds_left(trials, [], n_new=10, n_workers=1) == pytest.approx(250)
    assert seconds_left(trials, [], n_new=10, n_workers=2) == pytest.approx(125)


def test_running_trial_goes_on_as_fast_as_before() -> None:
    trials = stored(*DONE)  # 2.5 epochs on average
    assert seconds_left(trials, [epochs(1, 30.0)], n_new=0, n_workers=1) == pytest.approx(45)
    assert seconds_left(trials, [epochs(2, 30.0)], n_new=0, n_workers=1) == pytest.approx(15)
    assert seconds_left(trials, [epochs(4, 30.0)], n_new=0, n_workers=1) == pytest.approx(
        MIN_EPOCHS_LEFT * 30
    )


def test_running_trial_without_an_epoch_takes_as_long_as_the_others() -> None:
    trials = stored(*DONE)
    assert seconds_left(trials, [[], []], n_new=0, n_workers=1) == pytest.approx(50)


def test_running_trial_within_its_first_epoch_is_extrapolated() -> None:
    trials = stored(*DONE)
    part = [Epoch(0.25, {}, 3.0), Epoch(0.5, {}, 3.0)]
    assert seconds_left(trials, [part], n_new=0, n_workers=1) == pytest.approx(2 * 12)


def test_a_trial_runs_on_one_worker() -> None:
    trials = stored(*DONE)
    assert seconds_left(trials, [epochs(1, 160.0)], n_new=0, n_workers=8) == pytest.approx(240)
    assert seconds_left(trials, [], n_new=1, n_workers=8) == pytest.approx(25)
