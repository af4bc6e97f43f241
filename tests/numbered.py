"""Targets of classes whose names are their numbers, and their scores."""

from typing import Any

from tuning.targets.classes import Classes
from tuning.targets.target import Array, Labels


def numbered(n: int) -> Classes:
    return Classes(tuple(map(str, range(n))))


TWO = numbered(2)
(MAJORITY,) = Classes.constant_names
LINEAR, NGRAMS = (f"{name} + {Classes.regression_name}" for name in ("TF-IDF", "tuned n-grams"))


def score(labels: Labels, probabilities: Array) -> dict[str, float]:
    return numbered(probabilities.shape[1]).score(labels, probabilities)


def weighted_scores(labels: Labels, probabilities: Array, weights: Any) -> dict[str, Array]:
    return numbered(probabilities.shape[1]).weighted_scores(labels, probabilities, weights)
