"""Targets of classes whose names are their numbers, and their scores."""

from typing import Any

from tuning.targets.classes import Classes
from tuning.targets.target import Array, Labels, Target


def numbered(n: int) -> Classes:
    return Classes(tuple(map(str, range(n))))


TWO = numbered(2)
(MAJORITY,) = Classes.constant_names
NGRAMS = f"tuned n-grams + {Classes.regression_name}"


def score(labels: Labels, probabilities: Array) -> dict[str, float]:
    return numbered(probabilities.shape[1]).score(labels, probabilities)


def scores_of(target: Target, labels: Labels, predictions: Array, weights: Any) -> dict[str, Array]:
    """Return the value of every formula for each weighting of the texts."""
    formulas = target.formulas(labels, predictions, weights)
    return {name: formula() for name, formula in formulas.items()}


def weighted_scores(labels: Labels, probabilities: Array, weights: Any) -> dict[str, Array]:
    return scores_of(numbered(probabilities.shape[1]), labels, probabilities, weights)
