"""The repeats that a confirmation trains, and those that it takes over from an earlier one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.confirmations import SEEDS, begin, estimated, finalists, play
from tests.confirmations import with_repeats as repeated
from tuning.confirmation.plan import due, expected_cost, is_over, with_repeats
from tuning.confirmation.record import Confirmation, Finalist
from tuning.outcomes import LASTING, FailureReason
from tuning.results import StudyDir

# Trial 1 is ahead of the baseline, clearly or by chance.
CLEAR = {1: 0.9, 2: 0.8, 3: 0.7, 0: 0.5}
NOISE = [0.0, 0.01, -0.01, 0.004, -0.004]


def noisy(trial: int, seed: int) -> float:
    """Return a value that the trial does not change; the seeds order the trials differently."""
    return 0.8 + NOISE[(2 * trial + seed) % 5]


def by_seed(done: list[tuple[int, int]]) -> dict[int, list[int]]:
    return {seed: sorted(t for t, s in done if s == seed) for _, seed in sorted(done)}


def test_all_finalists_are_trained_on_three_seeds_and_the_clear_best_on_no_more() -> None:
    confirmation, done = play(
        begin(0.9, 0.8, 0.7, 0.5), lambda trial, seed: CLEAR[trial] + 0.001 * (trial + seed) % 0.003
    )
    assert by_seed(done) == {seed: [0, 1, 2, 3] for seed in SEEDS[:3]}
    assert is_over(confirmation) and estimated(confirmation).is_confirmed


def test_leading_two_and_the_baseline_get_two_more_seeds_while_the_order_is_not_clear() -> None:
    confirmation, done = play(begin(0.9, 0.8, 0.7, 0.5), noisy)
    further = by_seed(done)[4]
    assert len(further) == 3 and 0 in further and by_seed(done)[5] == further
    assert estimated(confirmation).n_shared == 5


def test_baseline_that_is_clearly_better_needs_no_further_seed() -> None:
    values = {1: 0.5, 2: 0.4, 0: 0.9}
    _, done = play(begin(0.6, 0.5, 0.4), lambda t, s: values[t] + NOISE[(2 * t + s) % 5] / 10)
    assert {seed for _, seed in done} == {1, 2, 3}


@pytest.mark.parametrize("missing", ["baseline", "others"])
def test_nothing_is_left_to_decide_if_there_is_no_pair(missing: str) -> None:
    made = [f for f in finalists(0.9, 0.8, 0.5) if f.is_baseline == (missing == "others")]
    begun = Confirmation("val_accuracy", SEEDS[:3], SEEDS[3:], made)
    _, done = play(begun, noisy)
    assert {seed for _, seed in done} == {1, 2, 3}


def test_finalist_whose_training_fails_is_left_out_and_the_next_one_leads() -> None:
    """Trial 1 leads and fails on seed 4."""
    values = {1: 0.81, 2: 0.805, 3: 0.80, 0: 0.80}
    confirmation, done = play(
        begin(0.9, 0.89, 0.88, 0.5),
        lambda t, s: None if (t, s) == (1, 4) else values[t] + NOISE[(2 * t + s) % 5],
    )
    assert {0, 2, 3} <= {*by_seed(done)[5]}
    assert estimated(confirmation).is_confirmed and estimated(confirmation).best.trial in (0, 2, 3)


def test_longest_training_of_a_seed_begins_first() -> None:
    made = [replace(f, seconds=s) for f, s in zip(finalists(0.9, 0.8, 0.5), (2, 9, 4), strict=True)]
    begun = Confirmation("val_accuracy", SEEDS[:2], [], made)
    assert [(f.trial, seed) for f, seed in due(begun)][:4] == [(2, 1), (0, 1), (1, 1), (2, 2)]
    assert expected_cost(begun, n_workers=2) == (6, 15)
    assert expected_cost(begun, n_workers=20) == (6, 9)


@settings(max_examples=50)
@given(stop=st.integers(0, 20), seed=st.integers(0, 1000))
def test_confirmation_that_is_killed_continues_as_if_it_had_not_been(
    stop: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A process that reads the file after any repeat trains the others, and none again."""
    folder = StudyDir(tmp_path_factory.mktemp("s"))
    values = np.random.default_rng(seed).normal(0.8, 0.01, (4, 6))
    whole, done = play(begin(0.9, 0.8, 0.7, 0.6), lambda trial, seed: float(values[trial, seed]))
    part = begin(0.9, 0.8, 0.7, 0.6)
    for trial, number in done[:stop]:
        part = part.with_repeat(trial, number, float(values[trial, number]), seconds=1.0)
    part.save(folder)
    loaded = Confirmation.load(folder)
    assert loaded == part
    again, rest = play(loaded, lambda trial, seed: float(values[trial, seed]))
    assert sorted([*done[:stop], *rest]) == sorted(done)
    assert again == whole


@pytest.mark.parametrize("reason", FailureReason)
def test_repeat_is_trained_again_unless_its_configuration_is_the_cause(
    reason: FailureReason,
) -> None:
    old = begin(0.9, 0.8, 0.5).with_repeat(1, 1, None, seconds=1.0, failure=reason)
    old, _ = play(old, noisy)
    new = replace(old, finalists=with_repeats(finalists(0.9, 0.8, 0.5), old.finalists))
    again, done = play(new, noisy)
    assert ((1, 1) in done) == (reason not in LASTING)
    # The other repeats are not trained again.
    assert all(trial == 1 for trial, seed in done if seed <= 3)
    assert is_over(again)


def test_confirmed_best_stays_against_luckier_newcomers() -> None:
    """Trial 9 was confirmed; later trials of the search have better values, and worse repeats on
    every seed.
    """
    old = repeated({9: [0.88, 0.881, 0.882], 0: [0.70, 0.71, 0.72]})
    made = with_repeats(finalists(0.97, 0.96, 0.95, 0.7), old.finalists)
    assert [f.trial for f in made] == [1, 2, 3, 0, 9]
    confirmation, done = play(
        replace(begin(0.5), finalists=made),
        lambda trial, seed: {9: 0.88, 0: 0.7}.get(trial, 0.81) + 0.001 * seed,
    )
    estimates = estimated(confirmation)
    assert (estimates.best.trial, estimates.is_confirmed) == (9, True)
    assert {(trial, seed) for trial, seed in done if seed <= 3} == {
        (trial, seed) for trial in (1, 2, 3) for seed in (1, 2, 3)
    }


def test_trial_of_an_equal_configuration_keeps_its_repeats() -> None:
    old = [Finalist(4, {}, 0.8, 1.0, same=[7], repeats={1: 0.8})]
    (taken,) = with_repeats([Finalist(7, {}, 0.8, 1.0, same=[4])], old)
    assert taken.repeats == {1: 0.8} and taken.trial == 7
