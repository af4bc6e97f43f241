"""The remaining time of a search, estimated from the times of its trials."""

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.search.progress import seconds_left


def trial(seconds: float) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE,
        value=0.5,
        user_attrs={
            "n_epochs": 2,
            "seconds": {"build": 0.25 * seconds, "train": 0.75 * seconds},
        },
    )


DONE = [trial(1), trial(2), trial(90), trial(7)]


@pytest.mark.parametrize(
    ("n_running", "n_new", "n_workers", "expected"),
    [
        (0, 0, 2, 0),
        (0, 10, 1, 250),
        (0, 10, 2, 125),
        (1, 0, 1, 12.5),
        (2, 3, 2, 50),
        # A trial runs on one worker.
        (0, 1, 8, 25),
        (8, 1, 8, 25),
        (2, 0, 8, 12.5),
    ],
)
def test_seconds_left_follow_from_the_seconds_of_other_trials(
    n_running: int, n_new: int, n_workers: int, expected: float
) -> None:
    left = seconds_left(DONE, n_running=n_running, n_new=n_new, n_workers=n_workers)
    assert left == pytest.approx(expected)


def test_nothing_is_said_before_three_trials_are_timed() -> None:
    assert seconds_left(DONE[:2], n_running=0, n_new=5, n_workers=1) is None
