"""What ten more trials are expected to gain, and the spread between seeds to compare that with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from tuning.study.summary import Summary

N_MORE = 10
# Minimum number of drawn trials: of fewer, the expected gain is two to three times too large
# (docs/search.md).
MIN_DRAWN = 10
# The same for the end of a search. TPE draws its first trials at random, and learns from them.
MIN_DRAWN_OF_END = 20
N_BEST = 5  # number of the best trials whose epochs are compared


@dataclass(frozen=True)
class Gain:
    """What `N_MORE` more trials are expected to gain in the metric.

    Attributes:
        expected: the improvement of the best value, 0 or more, with its interval.
        spread: standard deviation of a configuration's value between seeds; before a confirmation
            has measured it, the change of the best trials from epoch to epoch. None where neither
            is known.
        n_drawn: number of trials that the sampler has drawn and that have a value.
    """

    expected: Interval
    spread: float | None
    is_measured: bool
    n_drawn: int

    @property
    def is_small(self) -> bool:
        return self.spread is not None and self.expected.value <= self.spread

    @property
    def ends_search(self) -> bool:
        return self.is_small and self.n_drawn >= MIN_DRAWN_OF_END


def gain_of(summary: Summary, confirmation: Confirmation | None) -> Gain | None:
    """Return None before `MIN_DRAWN` drawn trials have a value, and with several objectives."""
    if summary.expected_gain is None:
        return None
    measured = seed_spread(confirmation) if confirmation else None
    spread = _epoch_change(summary.ranked) if measured is None else measured
    is_measured, n_drawn = measured is not None, len(summary.drawn)
    return Gain(summary.expected_gain, spread, is_measured=is_measured, n_drawn=n_drawn)


def drawn_values(trials: Sequence[FrozenTrial], metric: str) -> list[float]:
    """Return the values of the trials that the sampler has drawn, without duplicates. A trial that
    is pruned or paused has its best value so far, which further epochs would not have made worse.
    """
    better, values = max if sign(metric) > 0 else min, []
    for trial in without_copies(trials):
        attributes = attributes_of(trial)
        if is_named(trial) or "imported" in attributes:
            continue
        if trial.state == TrialState.COMPLETE:
            values.append(value_of(trial))
        elif trial.intermediate_values and (trial.state in ENDED or attributes.get("paused")):
            values.append(better(trial.intermediate_values.values()))
    return values


def expected_gain_of(drawn: Sequence[float], best: float, metric: str) -> Interval | None:
    if len(drawn) < MIN_DRAWN:
        return None
    direction = sign(metric)
    return expected_gain([direction * v for v in drawn], direction * best, n_more=N_MORE)


def _epoch_change(ranked: Sequence[FrozenTrial]) -> float | None:
    """Return by how much the value of the best trials changes from epoch to epoch: the root mean
    square of the change from a trial's best epoch to the epoch before or after it, the smaller of
    the two. None where no trial has a whole epoch beside its best.
    """
    changes = []
    for trial in without_copies(ranked)[:N_BEST]:
        values, epoch = epoch_values(trial), attributes_of(trial).get("best_epoch", 0)
        beside = [values[near] for near in (epoch - 1, epoch + 1) if near >= 1 and near in values]
        if epoch in values and beside:
            changes.append(min(abs(value - values[epoch]) for value in beside))
    return math.sqrt(statistics.fmean(c**2 for c in changes)) if changes else None
