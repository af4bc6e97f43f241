"""What ten more trials are expected to gain, and the spread between seeds to compare that with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from optuna.trial import FrozenTrial, TrialState

from tuning.confirmation.estimates import seed_spread
from tuning.confirmation.rounds import Confirmation
from tuning.evaluation.statistics import Interval, expected_gain
from tuning.metrics import sign
from tuning.study.trials import (
    ENDED,
    attributes_of,
    epoch_values,
    is_named,
    value_of,
    without_copies,
)

N_MORE = 10
# Minimum number of drawn trials for an estimate, and for the end of a search. TPE draws at
# random until ten trials have ended. docs/search.md has the measurements.
MIN_DRAWN, MIN_DRAWN_OF_END = 10, 20
N_BEST = 5  # number of the best trials whose epochs are compared


@dataclass(frozen=True)
class Gain:
    """What `N_MORE` more trials are expected to gain in the metric.

    Attributes:
        expected: the improvement of the best value, 0 or more, with its interval.
        n_drawn: number of drawn trials.
        spread: standard deviation of a configuration's value between seeds; before a confirmation
            has measured it, the change of the best trials from epoch to epoch, if it is known.
    """

    expected: Interval
    n_drawn: int
    spread: float | None
    is_measured: bool = False

    def measured(self, confirmation: Confirmation | None) -> Self:
        spread = seed_spread(confirmation) if confirmation else None
        return self if spread is None else replace(self, spread=spread, is_measured=True)

    @property
    def is_small(self) -> bool:
        return self.spread is not None and self.expected.value <= self.spread

    @property
    def ends_search(self) -> bool:
        return self.is_small and self.n_drawn >= MIN_DRAWN_OF_END


def gain_of(
    trials: Sequence[FrozenTrial], ranked: Sequence[FrozenTrial], metric: str
) -> Gain | None:
    """Return None before `MIN_DRAWN` trials that the sampler has drawn have a value. Duplicates do
    not count. A trial that is pruned or paused has its best value so far, which further epochs
    would not have made worse. With folds it has the mean of its folds so far, plus the mean change
    from there to the last fold of the completed trials, because some folds are more difficult.
    """
    direction, drawn, changes = sign(metric), [], _changes_to_the_last_fold(ranked)
    for trial in without_copies(trials):
        attributes, values = attributes_of(trial), epoch_values(trial)
        if is_named(trial) or "imported" in attributes:
            continue
        if trial.state == TrialState.COMPLETE:
            drawn.append(direction * value_of(trial))
        elif values and (trial.state in ENDED or attributes.get("paused")):
            best = max(direction * value for value in values.values())
            if "n_folds" in attributes:
                last = max(values)
                best = direction * (values[last] + changes.get(last, 0.0))
            drawn.append(best)
    if not ranked or len(drawn) < MIN_DRAWN:
        return None
    expected = expected_gain(drawn, direction * value_of(ranked[0]), n_more=N_MORE)
    return Gain(expected, len(drawn), _epoch_change(ranked))


def _changes_to_the_last_fold(ranked: Sequence[FrozenTrial]) -> dict[float, float]:
    changes: dict[float, list[float]] = {}
    for trial in ranked:
        for fold, value in epoch_values(trial).items():
            changes.setdefault(fold, []).append(value_of(trial) - value)
    return {fold: statistics.fmean(of_fold) for fold, of_fold in changes.items()}


def _epoch_change(ranked: Sequence[FrozenTrial]) -> float | None:
    """Return the root mean square, over the best trials, of the change from the best epoch to the
    epoch before or after it, the smaller of the two. With folds, the change of the mean by the last
    fold.
    """
    changes = []
    for trial in without_copies(ranked)[:N_BEST]:
        values, attributes = epoch_values(trial), attributes_of(trial)
        best = attributes.get("n_folds", attributes.get("best_epoch", 0))
        beside = [epoch for epoch in (best - 1, best + 1) if epoch >= 1 and epoch in values]
        if best in values and beside:
            changes.append(min(abs(values[epoch] - values[best]) for epoch in beside))
    return math.sqrt(statistics.fmean(change**2 for change in changes)) if changes else None
