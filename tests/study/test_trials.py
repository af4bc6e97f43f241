"""The attributes and the values of trials."""

from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.documents import structure
from tuning.results import ResultsDir
from tuning.search.tune import Outcome
from tuning.study.trials import (
    TrialAttributes,
    busy_seconds,
    epoch_values,
    expected_seconds,
    has_value,
    is_pruned_early,
    rank,
    seconds_of,
    value_of,
)


def trial_of(
    state: TrialState = TrialState.COMPLETE, value: float | None = 0.5, **attributes: Any
) -> FrozenTrial:
    return create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params={"x": 0.0},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values={2: 0.6, 1: 0.4},
        user_attrs=attributes,
    )


def test_attributes_of_a_searched_trial_are_metrics_or_have_their_types(
    finished: tuple[ResultsDir, Outcome],
) -> None:
    names = TrialAttributes.__annotations__.keys()
    for trial in finished[1].summary.trials:
        own = {name: value for name, value in trial.user_attrs.items() if name in names}
        assert structure(own, TrialAttributes) == own
        assert {"seconds", "best_epoch", "n_epochs", "seed"} <= own.keys()
        metrics = trial.user_attrs.keys() - own.keys()
        assert all(name.startswith("val_") or name in ("loss", "accuracy") for name in metrics)
        assert all(type(trial.user_attrs[name]) is float for name in metrics)


def test_busy_seconds_leave_out_waiting_and_the_storage() -> None:
    trial = trial_of(seconds={"build": 1.0, "train": 4.0, "idle": 8.0, "storage": 16.0})
    assert busy_seconds(seconds_of(trial)) == 5
    assert busy_seconds(seconds_of(trial_of())) == 0


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(4, 2 + 16 + 2), (2, 2 + 8 + 1), (1, 2 + 4 + 0.5), (0.25, 2 + 1 + 0.5)],
)
def test_expected_seconds_have_one_build_and_one_whole_evaluation(
    epochs: float, expected: float
) -> None:
    seconds = {"build": 1.5, "first_step": 0.5, "train": 16.0, "evaluate": 2.0, "idle": 9.0}
    assert expected_seconds(trial_of(seconds=seconds, n_epochs=4), epochs) == expected


@pytest.mark.parametrize(("epochs", "expected"), [(2, 10 + 10 + 2.5), (9, 10 + 40 + 10)])
def test_expected_seconds_of_folds_are_those_of_all_folds_up_to_the_best_epoch(
    epochs: int, expected: float
) -> None:
    """Two of five folds are trained, with 3 + 13 epochs. No fold is longer than these."""
    seconds = {"build": 4.0, "train": 16.0, "evaluate": 4.0, "idle": 9.0}
    trial = trial_of(seconds=seconds, n_epochs=2, n_folds=5, n_fold_epochs=16)
    assert expected_seconds(trial, epochs) == expected


@pytest.mark.parametrize("attributes", [{}, {"seconds": {}, "n_epochs": 2}])
def test_expected_seconds_of_a_trial_without_times_are_0(attributes: dict[str, Any]) -> None:
    assert expected_seconds(trial_of(**attributes), 3) == 0


def test_baseline_over_a_limit_has_a_value() -> None:
    baseline = trial_of(TrialState.PRUNED, baseline=True, best_value=0.75)
    assert has_value(baseline) and value_of(baseline) == 0.75
    assert has_value(trial_of()) and value_of(trial_of()) == 0.5
    assert not has_value(trial_of(TrialState.PRUNED, n_epochs=1))


@pytest.mark.parametrize(
    ("parts", "expected"), [({}, {1: 0.4, 2: 0.6}), ({"parts_per_epoch": 4}, {0.25: 0.4, 0.5: 0.6})]
)
def test_values_are_by_epochs(parts: dict[str, int], expected: dict[float, float]) -> None:
    assert epoch_values(trial_of(**parts)) == expected
    assert [*epoch_values(trial_of(**parts))] == sorted(expected)


def test_pruned_early_is_a_trial_that_was_trained_and_stopped() -> None:
    assert is_pruned_early(trial_of(TrialState.PRUNED, n_epochs=1))
    copied = trial_of(TrialState.PRUNED, n_epochs=1, same_as=3)
    for trial in (copied, trial_of(TrialState.PRUNED), trial_of(n_epochs=1)):
        assert not is_pruned_early(trial)


@pytest.mark.parametrize(("metric", "best"), [("val_accuracy", [2, 0, 1]), ("val_loss", [0, 1, 2])])
def test_rank_is_by_the_metric_then_by_the_number(metric: str, best: list[int]) -> None:
    trials = [trial_of(value=value) for value in (0.5, 0.5, 0.7)]
    for number, trial in enumerate(trials):
        trial.number = number
    assert [trial.number for trial in rank(trials, metric)] == best
