"""A configuration that a confirmation trains again, with its repeats. The module imports neither
Keras nor Optuna.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from tuning.documents import OMIT_DEFAULT
from tuning.outcomes import LASTING, FailureReason


@dataclass(frozen=True)
class Finalist:
    """A configuration that is trained again on fresh seeds.

    Attributes:
        trial: number of the trial that the configuration comes from.
        values: hyperparameters by name.
        search_value: the trial's value in the search.
        seconds: expected worker seconds of one repeat.
        is_baseline: whether the configuration is the defaults of the search space.
        starting_point: number of the search space's starting point that the trial trained; None for
            any other trial.
        is_over_limit: whether the model exceeds a limit of the study. Such a finalist is a
            reference to compare with, and is never chosen.
        costs: values of the study's other objectives, which do not depend on the seed.
        epochs: number of epochs of a repeat: the trial's best epoch, as in an export. It may be a
            fraction.
        same: numbers of other trials with the same configuration.
        repeats: value after the last epoch by seed; None where the training failed.
        failures: reason of failure by seed.
        dropped_in: the round after which the finalist was given up; 0 for other finalists.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    trial: int
    values: dict[str, bool | int | float | str]
    search_value: float
    seconds: float
    is_baseline: bool = False
    starting_point: int | None = field(default=None, metadata=OMIT_DEFAULT)
    is_over_limit: bool = False
    costs: list[float] = field(default_factory=list)
    epochs: float = 1
    same: list[int] = field(default_factory=list)
    repeats: dict[int, float | None] = field(default_factory=dict)
    failures: dict[int, FailureReason] = field(default_factory=dict)
    dropped_in: int = 0

    @property
    def repeat_values(self) -> list[float]:
        """The values of the repeats that did not fail."""
        return [value for value in self.repeats.values() if value is not None]

    @property
    def is_remaining(self) -> bool:
        """Whether the finalist is neither given up nor failed."""
        return not self.dropped_in and not self.failures

    def retried(self) -> Self:
        """Return the finalist without the repeats that failed for a reason that another call may
        not have.
        """
        kept = {seed: reason for seed, reason in self.failures.items() if reason in LASTING}
        repeats = {
            seed: value
            for seed, value in self.repeats.items()
            if seed in kept or seed not in self.failures
        }
        return replace(self, repeats=repeats, failures=kept)

    def with_repeat(
        self, seed: int, value: float | None, failure: FailureReason | None = None
    ) -> Self:
        """Return the finalist with a further repeat. A repeat without a value has failed."""
        return replace(
            self,
            repeats={**self.repeats, seed: value},
            failures=self.failures if failure is None else {**self.failures, seed: failure},
        )


def missing_seconds(finalists: Sequence[Finalist], seeds: Sequence[int]) -> float:
    """Return the worker seconds of the repeats that the finalists still lack on these seeds."""
    return sum(f.seconds for f in finalists for seed in seeds if seed not in f.repeats)
