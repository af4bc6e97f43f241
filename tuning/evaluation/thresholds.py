"""The choice of decision thresholds on out-of-sample predictions, and what they change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tuning.evaluation.out_of_sample import Rows
from tuning.evaluation.predictions import Predictions
from tuning.evaluation.scores import ChosenThreshold, ThresholdChange
from tuning.evaluation.statistics import Interval, bootstrap_bounds, resampled
from tuning.targets.target import Array, Labels, Target
from tuning.targets.thresholds import Criterion, choose_threshold, cross_fitted


def choose_thresholds(
    target: Target, rows: Rows, criterion: Criterion, *, seed: int
) -> dict[str, ChosenThreshold]:
    """Return the thresholds of `Target.binary_decisions`, with their changes on these rows."""
    chosen, codes, drawn = {}, rows.texts, rows.observations
    for name, decision in target.binary_decisions(rows.labels, rows.predictions).items():
        labels = decision.labels
        threshold = choose_threshold(
            labels, decision.probabilities, criterion, codes=codes, seed=seed
        )
        held_out = cross_fitted(decision, criterion, codes=codes, seed=seed)
        fitted = held_out, decision.default
        decided, once = decision.decided(threshold), np.ones((1, len(codes)))
        in_sample = criterion.measured(labels, decided, once)
        chosen[name] = ChosenThreshold(
            threshold=threshold,
            criterion=criterion.text,
            n_texts=len(np.unique(codes)),
            in_sample={name: float(v[0]) for name, v in in_sample.items() if np.isfinite(v[0])},
            cross_fitted=_changes(criterion, labels, fitted, drawn, seed=seed),
        )
    return chosen


def tested(
    chosen: Mapping[str, ChosenThreshold],
    seen: Predictions,
    criterion: Criterion,
    *,
    codes: Labels,
    seed: int,
) -> dict[str, ChosenThreshold]:
    """`seen` and `codes` are those of the test split (`evaluate_on_test_split`)."""
    tested = {}
    for name, decision in seen.target.binary_decisions(seen.labels, seen.probabilities).items():
        decided = decision.decided(chosen[name].threshold), decision.default
        changes = _changes(criterion, decision.labels, decided, codes, seed=seed)
        tested[name] = replace(chosen[name], test=changes)
    return tested


def _changes(
    criterion: Criterion,
    labels: Labels,
    decided: tuple[Labels, Labels],
    codes: Labels,
    *,
    seed: int,
) -> dict[str, ThresholdChange]:
    """Return the change of each measure from the second to the first of two decisions. Recall is
    not defined for a label that no row has, and left out.
    """

    def values(weights: Array) -> Array:
        """Return the values of both decisions, (2, n_measures, n_weightings)."""
        both = [criterion.measured(labels, each, weights) for each in decided]
        return np.array([[*each.values()] for each in both])

    names = criterion.measured(labels, decided[0], np.ones((1, len(labels))))
    own, default = values(np.ones((1, len(labels))))[..., 0].tolist()
    drawn = resampled(lambda w: np.subtract(*values(w)), len(labels), codes, seed=seed)
    return {
        name: ThresholdChange(
            value=ours,
            default=other,
            difference=Interval(ours - other, *bootstrap_bounds(of_measure)),
        )
        for name, ours, other, of_measure in zip(names, own, default, drawn, strict=True)
        if np.isfinite(ours - other)
    }


def all_thresholds(chosen: Mapping[str, ChosenThreshold]) -> tuple[float, ...]:
    return tuple(each.threshold for each in chosen.values())


def with_thresholds(target: Target, chosen: Mapping[str, ChosenThreshold]) -> Target:
    return replace(target, thresholds=all_thresholds(chosen))
