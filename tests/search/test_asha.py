"""Asynchronous successive halving with promotion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.search.asha import Rungs, rungs_of


@pytest.mark.parametrize(
    ("epochs", "parts", "rungs"),
    [
        *((1, 1, ()), (2, 1, ()), (3, 1, (1,)), (4, 1, (1, 2)), (6, 1, (1, 2, 4))),
        *((1, 8, (0.125, 0.25, 0.5)), (2, 8, (0.125, 0.25, 0.5)), (3, 8, (0.125, 0.25, 0.5, 1))),
    ],
)
def test_rungs_leave_two_epochs_to_save(epochs: int, parts: int, rungs: tuple[float, ...]) -> None:
    assert rungs_of(epochs, parts=parts) == rungs


def rungs_with(values: dict[int, float], *, direction: int = 1, n_trials: int = 20) -> Rungs:
    made = Rungs((1, 2), direction, n_trials)
    for number, value in values.items():
        made.record(number, 1, value)
    return made


def test_better_half_goes_on() -> None:
    made = rungs_with({0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6})
    assert [made.goes_on(n, 1) for n in range(4)] == [True, True, False, False]
    assert rungs_with({4: 0.1}).goes_on(4, 1)
    of_loss = rungs_with({0: 0.9, 1: 0.1}, direction=-1)
    assert [of_loss.goes_on(n, 1) for n in (0, 1)] == [False, True]


def test_highest_rung_is_promoted_first_then_the_best() -> None:
    made = rungs_with({n: 1 - n / 10 for n in range(8)})
    assert made.promotable({2: 1, 1: 1}) == 1
    for number, value in ((0, 0.9), (3, 0.8), (4, 0.7), (5, 0.6)):
        made.record(number, 2, value)
    assert made.promotable({2: 1, 1: 1, 3: 2}) == 3


def test_trial_that_waits_at_no_rung_may_always_go_on() -> None:
    """The time limit of a call can pause a trial between two rungs."""
    made = rungs_with({0: 0.9, 1: 0.8})
    assert made.promotable({7: 3}) == 7
    assert not made.is_beyond_promotion(7, 3)


@pytest.mark.parametrize(("direction", "expected"), [(1, [0.9, 0.8, 0.85]), (-1, [0.7, 0.1, 0.2])])
def test_better_value_within_the_first_epoch_counts(direction: int, expected: list[float]) -> None:
    """A trial whose best epoch is a fraction keeps its place at a later rung."""
    made = Rungs((0.5, 1, 2), direction, 20)
    for number, values in enumerate([(0.9, 0.7), (0.1, 0.8), (0.2, 0.85)]):
        made.record(number, 0.5, values[0])
        made.record(number, 1, values[1])
        made.record(number, 1.5, 1.0 if direction == 1 else 0.0)  # no rung
    assert [made.values[1][number] for number in range(3)] == expected
    made.record(3, 1, 0.2 if direction == -1 else 0.9)
    made.record(3, 2, 0.3)  # The value of a whole epoch does not count at a later rung.
    assert made.values[2] == {3: 0.3}


def test_better_value_before_the_training_counts_at_every_rung() -> None:
    """Epoch 0 is no rung: the trial goes on, and no other trial is ranked there."""
    made = rungs_with({0: 0.8, 1: 0.7})
    made.record(2, 0, 0.9)
    assert made.goes_on(2, 0) and not made.is_beyond_promotion(2, 0)
    for epoch in (1, 2):
        made.record(2, epoch, 0.1)
        assert made.values[epoch][2] == 0.9
        assert made.goes_on(2, epoch)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(0, 10))
def test_trial_beyond_promotion_is_never_promoted_later(values: list[float], more: int) -> None:
    """The result holds for all trials that may follow: a checkpoint that is deleted would never
    have been used.
    """
    n_trials = len(values) + more
    made = rungs_with(dict(enumerate(values)), n_trials=n_trials)
    beyond = [n for n in range(len(values)) if made.is_beyond_promotion(n, 1)]
    for number in range(len(values), n_trials):
        made.record(number, 1, -1.0)
    assert not any(made.goes_on(n, 1) for n in beyond)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_better_half_has_gone_on_in_the_end_whatever_the_order(values: list[float]) -> None:
    """Optuna's pruner, which decides only once, does not have this property."""
    made, waiting = Rungs((1,), 1, len(values)), {}
    gone = set()
    for number, value in enumerate(values):
        made.record(number, 1, value)
        if made.goes_on(number, 1):
            gone.add(number)
        else:
            waiting[number] = 1
        while (promoted := made.promotable(waiting)) is not None:
            gone.add(promoted)
            del waiting[promoted]
    best = sorted(range(len(values)), key=lambda n: -values[n])[: len(values) // 2]
    assert {values[n] for n in best} <= {values[n] for n in gone}
