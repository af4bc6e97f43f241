"""The best value of a search so far."""

from dataclasses import replace

from optuna.trial import create_trial

from tests.comparisons import progressed
from tuning.comparison.search import best_value
from tuning.study.summary import Summary


def test_best_value_counts_running_and_ended_trials() -> None:
    assert best_value(progressed({})) is None
    assert best_value(progressed({3: [0.5, 0.7], 4: [0.6]})) == 0.7
    ended = create_trial(value=0.9, intermediate_values={1: 0.9, 2: 0.8})
    summary = Summary.of("s", "val_accuracy", [ended])
    assert best_value(replace(progressed({3: [0.7]}), summary=summary)) == 0.9
