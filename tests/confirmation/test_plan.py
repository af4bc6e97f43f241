"""The plan of a confirmation, the repeats that it takes over from an earlier one, and the models of
other architectures that it trains for ensembles.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.confirmations import begin, play
from tests.confirmations import with_repeats as repeated
from tuning.confirmation.plan import (
    covers,
    due_on_random_splits,
    due_others,
    expected_cost,
    on_own_split,
    other_architectures,
    trained_of,
    with_repeats,
)
from tuning.confirmation.rounds import Confirmation, Finalist, Purpose
from tuning.outcomes import LASTING, FailureReason
from tuning.results import StudyDir


def failing(reason: FailureReason) -> Confirmation:
    """Return a finished confirmation whose first repeat of trial 1 has failed for a reason."""
    confirmation, _ = play(
        begin(0.9, 0.8, 0.5), lambda trial, seed: None if (trial, seed) == (1, 1) else 0.7
    )
    return replace(
        confirmation,
        finalists=[
            replace(finalist, failures=dict.fromkeys(finalist.failures, reason))
            for finalist in confirmation.finalists
        ],
    )


@pytest.mark.parametrize("reason", FailureReason)
def test_repeat_is_trained_again_unless_its_configuration_is_the_cause(
    reason: FailureReason,
) -> None:
    old = failing(reason)
    new = begin(0.9, 0.8, 0.5)
    new = replace(new, finalists=with_repeats(new.finalists, old.finalists))
    is_lasting = reason in LASTING
    assert covers(old, new) == is_lasting
    first = next(finalist for finalist in new.finalists if finalist.trial == 1)
    assert first.is_remaining == (not is_lasting)
    again, done = play(new, lambda trial, seed: 0.7)
    assert ((1, 1) in done) == (not is_lasting)
    # The other repeats are not trained again.
    assert not any(trial != 1 and seed == 1 for trial, seed in done)
    assert covers(again, new)


def finalist(trial: int, value: float, **values: str | int) -> Finalist:
    return Finalist(trial=trial, values=values, search_value=value, seconds=1.0)


CANDIDATES = [
    finalist(0, 0.5, architecture="lstm", units=3),
    finalist(1, 0.7, architecture="cnn", units=3),
    finalist(2, 0.9, architecture="cnn", units=4),
    finalist(3, 0.9, architecture="cnn", units=5),
    finalist(4, 0.6, architecture="ngrams"),
]


def numbers(
    metric: str, *finalists: Finalist, deciding: tuple[str, ...] = ("architecture",)
) -> list[int]:
    others = other_architectures(CANDIDATES, finalists, deciding=deciding, metric=metric)
    return [other.trial for other in others]


def test_best_of_each_architecture_that_no_finalist_has_is_taken() -> None:
    assert numbers("val_accuracy", CANDIDATES[0]) == [2, 4]
    assert numbers("val_loss", CANDIDATES[0]) == [4, 1]
    assert numbers("val_accuracy", *CANDIDATES[:3], CANDIDATES[4]) == []
    assert numbers("val_accuracy", deciding=("units", "architecture")) == [2, 3, 1, 4, 0]
    # A space without conditions has one architecture.
    assert numbers("val_accuracy", CANDIDATES[1], deciding=()) == []


@pytest.mark.parametrize("value", [0.8, None])
def test_each_is_trained_once_on_the_first_seed(value: float | None) -> None:
    confirmation = Confirmation(
        "val_accuracy", [7, 8], 10.0, 5.0, [CANDIDATES[2]], others=[CANDIDATES[0]], is_over=True
    )
    same, due = due_others(confirmation)
    assert same is confirmation
    assert [(other.trial, seed) for other, seed in due] == [(0, 7)]
    trained = confirmation.with_repeat(0, 7, value, seconds=2.0, purpose=Purpose.ENSEMBLE)
    assert due_others(trained)[1] == []
    assert [item.trial for item in trained_of(trained)] == [2, 0]
    assert trained.finalists == confirmation.finalists
    assert replace(trained, others=[]) == replace(confirmation, others=[])  # The seconds too.


def test_finalists_with_fresh_splits_are_trained_on_the_study_s_own_for_ensembles(
    tmp_path: Path,
) -> None:
    """Trial 3 has failed, and trial 2 is over a limit."""
    of_trials = {1: [0.8, 0.81], 2: [0.7, 0.72], 3: [None], 0: [0.5, 0.5]}
    confirmation = replace(repeated(of_trials), overlap=0.2)
    made = [replace(f, is_over_limit=f.trial == 2) for f in confirmation.finalists]
    confirmation = replace(confirmation, finalists=made)
    assert on_own_split(replace(confirmation, overlap=0.0)) == []
    others = on_own_split(confirmation)
    assert [(f.trial, f.repeats) for f in others] == [(1, {}), (0, {})]
    confirmation = replace(confirmation, others=others)
    _, due = due_others(confirmation)
    assert [(f.trial, seed) for f, seed in due] == [(1, 1), (0, 1)]
    trained = confirmation.with_repeat(1, 1, 0.9, seconds=1.0, purpose=Purpose.ENSEMBLE)
    assert trained.finalists == confirmation.finalists
    assert [f.repeats for f in trained_of(trained)] == [{1: 0.9}, {}]
    trained.save(StudyDir(tmp_path))
    assert Confirmation.load(StudyDir(tmp_path)) == trained


@pytest.mark.parametrize("n", [1, 2, 5])
def test_best_is_trained_on_random_splits_once_for_each_of_its_first_repeats(n: int) -> None:
    confirmation = repeated({1: [0.8, 0.81, 0.8, 0.79, 0.8][:n], 0: [0.5, 0.51, 0.5, 0.5, 0.5][:n]})
    planned, due = due_on_random_splits(confirmation)
    assert [(f.trial, seed) for f, seed in due] == [(1, seed) for seed in (1, 2, 3)[:n]]
    # A process that is killed after the first repeat goes on with the others.
    first = planned.with_repeat(1, 1, 0.9, seconds=1.0, purpose=Purpose.RANDOM_SPLIT)
    again, due = due_on_random_splits(first)
    assert again == first and [seed for _, seed in due] == [2, 3][: n - 1]
    assert again.finalists == confirmation.finalists
    for seed in (2, 3)[: n - 1]:
        again = again.with_repeat(1, seed, None, seconds=1.0, purpose=Purpose.RANDOM_SPLIT)
    assert due_on_random_splits(again) == (again, [])
    # A later confirmation may have another best, whose repeats are not those of the first.
    better = repeated({2: [0.9] * n, 1: [0.8] * n, 0: [0.5] * n})
    later, due = due_on_random_splits(replace(better, on_random_splits=again.on_random_splits))
    assert [f.trial for f in later.on_random_splits] == [1, 2] and len(due) == min(n, 3)


def test_confirmation_without_repeats_has_no_random_splits() -> None:
    empty = begin(0.9, 0.5)
    assert due_on_random_splits(empty) == (empty, [])


def test_cost_of_a_confirmation_that_stopped_within_a_round_of_folds_is_expected() -> None:
    confirmation = replace(begin(0.9, 0.8, 0.5, n_seeds=3), overlap=1 / 4, budget_seconds=6.0)
    confirmation = replace(confirmation, n_guaranteed=3, is_bounded=True)
    trained = [(item, seed) for seed in confirmation.seeds for item in confirmation.finalists]
    for n_done, (item, seed) in enumerate(trained):
        # Equal differences are not clear, so all are trained.
        n_trainings, _, worker_seconds = expected_cost(confirmation, n_workers=1)
        assert (n_trainings, worker_seconds) == (9 - n_done, 9.0)
        folds = [item.search_value] * 5
        confirmation = confirmation.advance()[0].with_repeat(
            item.trial, seed, folds[0], seconds=1.0, folds=folds
        )


def test_stored_configuration_that_became_a_finalist_is_read_once(tmp_path: Path) -> None:
    """Earlier versions kept it among the other architectures too."""
    first, second, third = (
        replace(item, repeats={7: item.search_value}) for item in CANDIDATES[:3]
    )
    stored = Confirmation("val_loss", [7], 9.0, 9.0, [first, second], others=[second, third])
    stored.save(StudyDir(tmp_path))
    read = Confirmation.load(StudyDir(tmp_path))
    assert read is not None and read == replace(stored, others=[third])
    assert trained_of(read) == [first, second, third]
