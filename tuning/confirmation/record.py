"""The record of a confirmation: the configurations that are trained again, and their repeats.

The module imports neither Keras nor Optuna.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from tuning import documents
from tuning.documents import OMIT_DEFAULT
from tuning.errors import StudyError
from tuning.outcomes import LASTING, FailureReason
from tuning.results import StudyDir

# Number of seeds that the leading finalists must share before the best is called confirmed.
MIN_SEEDS = 3
# Maximum number of further seeds of the leading finalists, while the order is not decided.
N_FURTHER_SEEDS = 2


@dataclass(frozen=True)
class Finalist:
    """A configuration that is trained again on fresh seeds.

    Attributes:
        trial: number of the trial that the configuration comes from.
        search_value: the trial's value in the search.
        seconds: expected worker seconds of one repeat.
        starting_point: number of the search space's starting point that the trial trained; None for
            any other trial.
        linear_ngrams: whether the n-grams of the starting point are those of the linear model.
        is_over_limit: whether the model exceeds a limit of the study. Such a finalist is a
            reference to compare with, and is never chosen.
        costs: values of the study's other objectives, which do not depend on the seed.
        epochs: number of epochs of a repeat: the trial's best epoch, as in an export. It may be a
            fraction.
        same: numbers of other trials with the same configuration.
        repeats: value after the last epoch by seed; None where the training failed.
        folds: values of the folds that a seed has drawn, by seed; their mean is in `repeats`.
        failures: reason of failure by seed.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    trial: int
    values: dict[str, bool | int | float | str]
    search_value: float
    seconds: float
    is_baseline: bool = False
    starting_point: int | None = field(default=None, metadata=OMIT_DEFAULT)
    linear_ngrams: bool = field(default=False, metadata=OMIT_DEFAULT)
    is_over_limit: bool = False
    costs: list[float] = field(default_factory=list)
    epochs: float = 1
    same: list[int] = field(default_factory=list)
    repeats: dict[int, float | None] = field(default_factory=dict)
    folds: dict[int, list[float]] = field(default_factory=dict, metadata=OMIT_DEFAULT)
    failures: dict[int, FailureReason] = field(default_factory=dict)

    @property
    def repeat_values(self) -> dict[int, float]:
        return {seed: value for seed, value in self.repeats.items() if value is not None}

    @property
    def is_trained(self) -> bool:
        """Whether a repeat trains. If not, its model is as `adapt` has fitted it."""
        return self.epochs > 0

    def retried(self) -> Self:
        """Return the finalist without repeats whose failure another call may not have."""
        kept = {seed: reason for seed, reason in self.failures.items() if reason in LASTING}
        repeats = {
            seed: value
            for seed, value in self.repeats.items()
            if seed in kept or seed not in self.failures
        }
        return replace(self, repeats=repeats, failures=kept)

    @property
    def by_fold(self) -> dict[tuple[int, int], float]:
        """The value by seed and number of the fold; the number is 0 where a seed has no folds."""
        return {
            (seed, number): of_fold
            for seed, value in self.repeat_values.items()
            for number, of_fold in enumerate(self.folds.get(seed, [value]))
        }


@dataclass(frozen=True)
class Confirmation:
    """The finalists of a study with their repeats so far.

    Attributes:
        seeds: the fresh seeds on which each finalist is trained.
        further_seeds: the seeds after these, on which the leading finalists are trained while the
            order is not decided; empty with several objectives.
        spent_seconds: worker seconds of all repeats so far.
        overlap: with fresh splits, the number of validation rows for each training row; 0 if all
            repeats have the study's own split.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    metric: str
    seeds: list[int]
    further_seeds: list[int]
    finalists: list[Finalist]
    spent_seconds: float = 0.0
    overlap: float = field(default=0.0, metadata=OMIT_DEFAULT)

    @property
    def all_seeds(self) -> list[int]:
        return [*self.seeds, *self.further_seeds]

    @property
    def is_resplit(self) -> bool:
        """Whether each seed draws training and validation rows of its own."""
        return self.overlap > 0

    @property
    def has_costs(self) -> bool:
        return any(f.costs for f in self.finalists)

    @property
    def baseline(self) -> Finalist | None:
        return next((f for f in self.finalists if f.is_baseline), None)

    def with_repeat(
        self,
        trial: int,
        seed: int,
        value: float | None,
        *,
        seconds: float,
        failure: FailureReason | None = None,
        folds: Sequence[float] = (),
    ) -> Self:
        """Return the confirmation after a further repeat of one of its finalists, which took these
        worker seconds. `value` is None if the training failed, else the mean of `folds` if there
        are any. The values of folds count as such if each seed draws its own.
        """

        def added(finalist: Finalist) -> Finalist:
            failures, of_folds = finalist.failures, finalist.folds
            return replace(
                finalist,
                repeats={**finalist.repeats, seed: value},
                folds={**of_folds, seed: [*folds]} if folds and self.is_resplit else of_folds,
                failures=failures if failure is None else {**failures, seed: failure},
            )

        finalists = [added(f) if f.trial == trial else f for f in self.finalists]
        return replace(self, finalists=finalists, spent_seconds=self.spent_seconds + seconds)

    def save(self, folder: StudyDir) -> None:
        documents.write(folder.confirmation_path, self)

    @classmethod
    def load(cls, folder: StudyDir) -> Self | None:
        if not folder.confirmation_path.exists():
            return None
        return documents.read(
            folder.confirmation_path,
            cls,
            error=StudyError,
            remedy="Remove the file and confirm the study again.",
        )
