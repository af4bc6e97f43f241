"""The best value of a search so far."""

from dataclasses import replace

from optuna.trial import TrialState, create_trial

from tests.comparisons import progressed
from tuning.comparison.search import best_value
from tuning.study.summary import Summary


def test_best_value_counts_running_and_ended_trials() -> None:
    assert best_value(progressed({})) is None
    assert best_value(progressed({3: [0.5, 0.7], 4: [0.6]})) == 0.7
    ended = create_trial(value=0.9, intermediate_values={1: 0.9, 2: 0.8})
    summary = Summary.of("s", "val_accuracy", [ended])
    assert best_value(replace(progressed({3: [0.7]}), summary=summary)) == 0.9


def test_values_of_a_share_of_the_validation_split_do_not_count() -> None:
    """The first evaluations of a large data set are of a share; the value of a trial is not."""
    parts = {"parts_per_epoch": 4}
    running = create_trial(
        state=TrialState.RUNNING, intermediate_values={1: 0.9, 4: 0.6}, user_attrs=parts
    )
    ended = create_trial(value=0.7, intermediate_values={1: 0.8, 4: 0.5}, user_attrs=parts)
    trials = [[running], [running, ended]]
    summaries = [Summary.of("s", "val_accuracy", of_study) for of_study in trials]
    values = [best_value(replace(progressed({}), summary=summary)) for summary in summaries]
    assert values == [0.6, 0.7]
