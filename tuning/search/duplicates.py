"""Configurations that a study has had: with the same seed, training one again gives what it gave.
Knows no Keras and no Optuna.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any


def key(values: Mapping[str, Any]) -> Hashable:
    """Equal for equal configurations.

    Values that differ are different configurations, also where the data do not reach the
    difference: with a larger vocabulary an initializer may draw other weights for the same words,
    and a search space may use any value in any place.
    """
    return tuple(sorted(values.items()))


@dataclass
class Configurations:
    """The configurations of a study, and the trial that had each first."""

    trials: dict[Hashable, int] = field(default_factory=dict)

    def first(self, values: Mapping[str, Any]) -> int | None:
        """The trial that has had this configuration."""
        return self.trials.get(key(values))

    def add(self, number: int, values: Mapping[str, Any]) -> None:
        """Note which configuration a trial has."""
        self.trials.setdefault(key(values), number)

    def forget(self, number: int) -> None:
        """Leave a failed trial out: its result is not known."""
        self.trials = {one: trial for one, trial in self.trials.items() if trial != number}
