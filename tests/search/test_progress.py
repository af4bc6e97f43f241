"""The remaining time of a search, estimated from the times of its trials."""

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


def epochs(n: int, seconds: float) -> list[Epoch]:
    return [Epoch(number, {}, seconds) for number in range(1, n + 1)]


DONE = [trial(1), trial(2, n_epochs=5), trial(90), trial(7, n_epochs=1)]


@pytest.mark.parametrize(
    ("running", "n_new", "n_workers", "expected"),
    [
        ([], 0, 2, 0),
        ([], 10, 1, 250),
        ([], 10, 2, 125),
        # The trials have 2.5 epochs on average.
        ([epochs(1, 30.0)], 0, 1, 45),
        ([epochs(2, 30.0)], 0, 1, 15),
        ([epochs(4, 30.0)], 0, 1, MIN_EPOCHS_LEFT * 30),
        ([[], []], 0, 1, 50),
        ([[Epoch(0, {}, 3.0)], []], 0, 1, 50),
        ([[Epoch(0.25, {}, 3.0), Epoch(0.5, {}, 3.0)]], 0, 1, 24),
        # A trial runs on one worker.
        ([epochs(1, 160.0)], 0, 8, 240),
        ([], 1, 8, 25),
    ],
)
def test_seconds_left_follow_from_the_seconds_of_other_trials(
    running: list[list[Epoch]], n_new: int, n_workers: int, expected: float
) -> None:
    left = seconds_left(DONE, running, n_new=n_new, n_workers=n_workers)
    assert left == pytest.approx(expected)


def test_nothing_is_said_before_three_trials_are_timed() -> None:
    assert seconds_left(DONE[:2], [], n_new=5, n_workers=1) is None
