"""The repeats of a search's best configurations on fresh seeds, and the repeats that are due next.

After each round one finalist is dropped: successive rejects (Audibert, Bubeck and Munos, COLT 2010)
with rounds of one seed. docs/confirmation.md has the rules and their reasons. The remaining time
goes to a sample of the search's pruned trials, which are trained to their last epoch.

The module imports neither Keras nor Optuna.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Self

import numpy as np

from tuning import documents
from tuning.documents import OMIT_DEFAULT
from tuning.errors import StudyError
from tuning.evaluation.statistics import mean_interval
from tuning.metrics import sign
from tuning.outcomes import LASTING, FailureReason
from tuning.results import StudyDir

# Number of seeds that all remaining finalists must share before the best is called confirmed.
MIN_ROUNDS = 3
# Default budget of a confirmation, as a share of the search's worker seconds. A finalist that is
# better than the baseline by twice the noise is found in 15 % of confirmations, and in 51 % with a
# budget as large as the search (docs/benchmarks.md).
DEFAULT_SHARE = 0.25
MIN_CHANGE = 1e-9  # differences that vary less are equal, except for errors of rounding
DIGITS = 12  # decimal digits of a mean, so that errors of rounding break no tie


class Purpose(StrEnum):
    """What a confirmation's trainings are for: the name of the list of their configurations."""

    CONFIRM = "finalists"
    ENSEMBLE = "others"
    RANDOM_SPLIT = "on_random_splits"


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
        dropped_in: the round after which the finalist was dropped; 0 for other finalists.
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
    dropped_in: int = 0

    @property
    def repeat_values(self) -> dict[int, float]:
        return {seed: value for seed, value in self.repeats.items() if value is not None}

    @property
    def is_trained(self) -> bool:
        """Whether a repeat trains. If not, its model is as `adapt` has fitted it."""
        return self.epochs > 0

    @property
    def is_remaining(self) -> bool:
        return not self.dropped_in and not self.failures

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

    def with_repeat(
        self,
        seed: int,
        value: float | None,
        failure: FailureReason | None = None,
        folds: Sequence[float] = (),
    ) -> Self:
        return replace(
            self,
            repeats={**self.repeats, seed: value},
            folds={**self.folds, seed: [*folds]} if folds else self.folds,
            failures=self.failures if failure is None else {**self.failures, seed: failure},
        )


def missing_seconds(finalists: Sequence[Finalist], seeds: Sequence[int]) -> float:
    return sum(f.seconds for f in finalists for seed in seeds if seed not in f.repeats)


@dataclass(frozen=True)
class EarlyRepeat:
    """The result of a repeat whose round has not begun; see `Confirmation.with_repeat`."""

    value: float | None
    seconds: float
    failure: FailureReason | None
    folds: list[float]


@dataclass(frozen=True)
class Confirmation:
    """The finalists of a study and the state of their repeats. `advance` and `with_repeat` return
    the next state.

    Attributes:
        budget_seconds: maximum worker seconds of all repeats, except those of `n_guaranteed`.
        spent_seconds: worker seconds of the repeats of `finalists` and `pruned` so far.
        rounds: number of seeds on which all finalists that were not dropped have a repeat.
        pruned: a random sample of the search's pruned trials. Each gets one repeat, on
            `search_seed`, whose value is the best value of a training to the last epoch.
        n_guaranteed: number of rounds of the two best finalists and the baseline that are trained
            at any cost.
        is_bounded: whether the second best finalist has these rounds only while the order is not
            clear and all repeats take no longer than the search. False for a confirmation that an
            earlier version began.
        others: the best trial of each architecture that no finalist has. Each gets one repeat,
            so that its configuration may become a member of an ensemble. Members are chosen on the
            study's own validation split, so with fresh splits the finalists are in `others` too.
        overlap: with fresh splits, the number of validation rows for each training row; 0 if all
            repeats have the study's own split, as in earlier versions.
        on_random_splits: the best configuration of a study with groups or times, with repeats on
            splits that leave these out of account, and the best ones of earlier confirmations.
        early: the baseline's repeats in rounds that have not begun, by seed. They count from their
            round on, so that a decision does not depend on how early they have ended.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    metric: str
    seeds: list[int]
    search_seconds: float
    budget_seconds: float
    finalists: list[Finalist]
    spent_seconds: float = 0.0
    rounds: int = 0
    is_over: bool = False
    pruned: list[Finalist] = field(default_factory=list)
    search_seed: int = 0
    n_guaranteed: int = 0
    is_bounded: bool = field(default=False, metadata=OMIT_DEFAULT)
    others: list[Finalist] = field(default_factory=list, metadata=OMIT_DEFAULT)
    overlap: float = field(default=0.0, metadata=OMIT_DEFAULT)
    on_random_splits: list[Finalist] = field(default_factory=list, metadata=OMIT_DEFAULT)
    early: dict[int, EarlyRepeat] = field(default_factory=dict, metadata=OMIT_DEFAULT)

    @property
    def is_resplit(self) -> bool:
        """Whether each seed draws training and validation rows of its own."""
        return self.overlap > 0

    @property
    def has_costs(self) -> bool:
        return any(f.costs for f in self.finalists)

    @property
    def share(self) -> float:
        """Worker seconds of the repeats, as a share of the search's worker seconds."""
        return self.spent_seconds / self.search_seconds if self.search_seconds else 0.0

    @property
    def budget_share(self) -> float:
        return self.budget_seconds / self.search_seconds if self.search_seconds else 0.0

    @property
    def is_short(self) -> bool:
        """Whether the confirmation ended before its last seed, because of its budget."""
        return self.is_over and self.rounds < len(self.seeds) and self.search_seconds > 0

    @property
    def is_clear(self) -> bool:
        """Whether the best remaining finalist is ahead of each other in the rounds so far, by the
        interval of their differences on the same seeds. Equal differences have no interval.
        """
        allowed = [finalist for finalist in self._remaining() if not finalist.is_over_limit]
        ranked = sorted(allowed, key=self._signed_mean, reverse=True)
        by_fold = [f.by_fold for f in ranked]
        shared = sorted(set.intersection(*map(set, by_fold))) if by_fold else []
        keys = [key for key in shared if key[0] in self.seeds[: self.rounds]]
        values = np.array([[of_finalist[key] for key in keys] for of_finalist in by_fold])
        differences = (sign(self.metric) * (values[:1] - values[1:])).tolist()
        return self.rounds > 1 and all(
            max(d) - min(d) > MIN_CHANGE and mean_interval(d, overlap=self.overlap).low > 0
            for d in differences
        )

    @property
    def baseline(self) -> Finalist | None:
        return next((f for f in self.finalists if f.is_baseline), None)

    def advance(self) -> tuple[Self, list[tuple[Finalist, int]]]:
        """Return the confirmation after its complete rounds have ended, and the missing repeats of
        the current round, as pairs of finalist and seed.

        A finalist that is not trained costs seconds, such as the linear model at which n-grams
        start, and is dropped last: what is confirmed must not be behind it. Other finalists whose
        repeats exceed the budget are dropped before. After the last round, the list has the repeats
        of pruned trials. The list is empty when the confirmation is over. The baseline and the best
        other finalist stay, because the comparison needs both. If trainings of all other remaining
        finalists fail, the best that was dropped remains again.
        """
        now = self._restored()
        while not now.is_over and now.rounds < len(now.seeds):
            seed = now.seeds[now.rounds]
            missing = [f for f in now._remaining() if seed not in f.repeats]
            if not missing:
                now = now._end_round()._restored()
                continue
            affordable = now._affordable(missing)
            if affordable is None:
                break
            if affordable is not now:
                now = affordable
                continue
            if seed in now.early and now.baseline in missing:
                now, missing = now._with_early(seed), [f for f in missing if not f.is_baseline]
            if missing:
                return now, [(f, seed) for f in missing]
        due = now._due_pruned() if not now.is_over else []
        return replace(now, is_over=not due), due

    def _affordable(self, missing: Sequence[Finalist]) -> Self | None:
        """Return this confirmation if the budget pays for the missing repeats of the current round;
        else the confirmation without one of these finalists, or None if none may be dropped.
        """
        needed = self.spent_seconds + sum(f.seconds for f in missing)
        in_all = needed + self._reserve()
        if in_all <= self.budget_seconds or self._is_guaranteed(missing, in_all):
            return self
        # Seconds are saved only if a finalist without this repeat is dropped.
        without_worst = self._without_worst(among=missing, in_round=self.rounds + 1)
        if without_worst is None and needed > self.budget_seconds:
            fits = self.budget_seconds - sum(f.seconds for f in missing if f.is_trained)
            if self.spent_seconds <= fits:
                without_worst = self._without_fitted(among=missing, in_round=self.rounds + 1)
        return without_worst or (self if needed <= self.budget_seconds else None)

    def _with_early(self, seed: int) -> Self:
        """Return the confirmation with the early repeat of the current round's seed."""
        assert self.baseline is not None  # for mypy: only a baseline has early repeats
        early = {each: repeat for each, repeat in self.early.items() if each != seed}
        return replace(self, early=early).with_repeat(
            self.baseline.trial, seed, **vars(self.early[seed])
        )

    def ahead(self) -> list[tuple[Finalist, int]]:
        """Return the baseline's missing repeats of later rounds that are trained at any cost. A
        worker that would be idle until the current round ends can train them.
        """
        baseline = self.baseline
        if baseline is None or not baseline.is_remaining:
            return []
        seeds = self.seeds[self.rounds + 1 : self.n_guaranteed]
        known = {*baseline.repeats, *self.early}
        return [(baseline, seed) for seed in seeds if seed not in known]

    def with_repeat(
        self,
        trial: int,
        seed: int,
        value: float | None,
        *,
        seconds: float,
        failure: FailureReason | None = None,
        purpose: Purpose = Purpose.CONFIRM,
        folds: Sequence[float] = (),
    ) -> Self:
        """Return the confirmation after a further repeat of one of its configurations, which took
        these worker seconds. `value` is None if the training failed, else the mean of `folds` if
        there are any. The values of folds count as such if each seed draws its own, as on random
        splits. Seconds count for finalists and pruned trials. A repeat of the baseline in a
        round that has not begun counts when `advance` comes to this round; if the baseline has
        failed, it never counts.
        """
        of_baseline = self.baseline if self.baseline and self.baseline.trial == trial else None
        is_later = seed in self.seeds[self.rounds + 1 :]
        if of_baseline and purpose is Purpose.CONFIRM and (is_later or of_baseline.failures):
            repeat = EarlyRepeat(value, seconds, failure, [*folds])
            return replace(self, early={**self.early, seed: repeat})
        folds = folds if self.is_resplit or purpose is Purpose.RANDOM_SPLIT else ()
        # A trial may be in several lists, such as `pruned` and `others`. Only pruned trials are
        # trained on `search_seed`, which is none of `seeds`.
        name = purpose.value if seed in self.seeds else "pruned"
        repeated: dict[str, Any] = {
            name: [
                f.with_repeat(seed, value, failure, folds) if f.trial == trial else f
                for f in getattr(self, name)
            ]
        }
        counted = seconds if purpose is Purpose.CONFIRM else 0.0
        return replace(self, spent_seconds=self.spent_seconds + counted, **repeated)

    def _due_pruned(self) -> list[tuple[Finalist, int]]:
        """Return the pruned trials that the budget pays for, in their random order; none before the
        first round of repeats is complete.
        """
        if not self.rounds:
            return []
        left, due = self.budget_seconds - self.spent_seconds, []
        for trial in self.pruned:
            left -= 0.0 if trial.repeats else trial.seconds
            if left < 0:
                break
            if not trial.repeats:
                due.append((trial, self.search_seed))
        return due

    def _reserve(self) -> float:
        """Return the worker seconds that the two best finalists and the baseline need for the later
        rounds of the first `MIN_ROUNDS` rounds.
        """
        rivals = self._rivals()[:2]
        kept = [f for f in self._remaining() if f.is_baseline or not f.is_trained or f in rivals]
        return missing_seconds(kept, self.seeds[self.rounds + 1 : MIN_ROUNDS])

    def _is_guaranteed(self, missing: Sequence[Finalist], seconds: float) -> bool:
        """Return whether the round is one of `n_guaranteed` and has at most two configurations
        beside the baseline, or one (`is_bounded`). A Pareto front may have more, because no member
        is dropped. `seconds`: worker seconds after all guaranteed rounds, if these take as long as
        expected; the repeats so far may have taken longer.
        """
        expected = sum(f.seconds * len(f.repeats) for f in self.finalists)
        pace = max(self.spent_seconds / expected, 1.0) if expected else 1.0
        seconds = self.spent_seconds + pace * (seconds - self.spent_seconds)
        is_within = not self.search_seconds or seconds <= self.search_seconds
        n_others = 2 if not self.is_bounded or (is_within and not self.is_clear) else 1
        if self.is_bounded and not all(f.is_trained for f in self._rivals()):
            n_others -= 1  # The best costs nothing.
        return self.rounds < self.n_guaranteed and (
            self.has_costs or sum(f.is_trained and not f.is_baseline for f in missing) <= n_others
        )

    def _end_round(self) -> Self:
        ended = replace(self, rounds=self.rounds + 1)
        gives_up = ended.rounds < len(ended.seeds) and (
            ended.rounds >= MIN_ROUNDS or len(ended._rivals()) > 2
        )
        if not gives_up:
            return ended
        return ended._without_worst(among=ended.finalists, in_round=ended.rounds) or ended

    def _restored(self) -> Self:
        """Return the confirmation with the best finalist that was dropped, if no other finalist
        beside the baseline remains, and if the budget pays for its first `MIN_ROUNDS` repeats.
        """
        dropped = [
            f for f in self.finalists if f.dropped_in and not f.failures and not f.is_baseline
        ]
        if self.is_over or self._ranked_others() or not dropped:
            return self
        best = max(dropped, key=lambda f: (self._signed_mean(f), -f.trial))
        missing = missing_seconds([best], self.seeds[:MIN_ROUNDS])
        if missing and self.spent_seconds + missing > self.budget_seconds:
            return self
        known = [seed in best.repeats for seed in self.seeds[: self.rounds]]
        rounds = known.index(False) if False in known else self.rounds
        finalists = [replace(f, dropped_in=0) if f is best else f for f in self.finalists]
        return replace(self, finalists=finalists, rounds=rounds)

    def _ranked_others(self) -> list[Finalist]:
        """Return the remaining others, best first; of equal finalists, the one that trains faster
        first, and then the earlier trial.
        """
        others = (f for f in self._remaining() if not f.is_baseline)
        return sorted(others, key=lambda f: (-self._signed_mean(f), f.seconds, f.trial))

    def _rivals(self) -> list[Finalist]:
        """Return the remaining others among which the worst is dropped, best first: with one
        objective, a model that is not trained is among them only as the best.
        """
        ranked = self._ranked_others()
        return [f for f in ranked if self.has_costs or f.is_trained or f is ranked[0]]

    def _remaining(self) -> list[Finalist]:
        return [f for f in self.finalists if f.is_remaining]

    def _without_worst(self, *, among: Sequence[Finalist], in_round: int) -> Self | None:
        """Return the confirmation without the worst finalist of `among` by `_signed_mean`, and of
        equal finalists without the slower one; None where none may be dropped. The baseline, the
        last other finalist and those that are not trained always stay.
        """
        rivals = self._rivals()
        beaten = rivals if len(rivals) > 1 else []
        if self.has_costs:
            beaten = [f for f in rivals if any(self._beats(other, f) for other in rivals)]
        beaten = [f for f in beaten if f in among and f.is_trained]
        return self._without(beaten[-1], in_round=in_round) if beaten else None

    def _without_fitted(self, *, among: Sequence[Finalist], in_round: int) -> Self | None:
        """Return the confirmation without the worst finalist of `among` that is not trained; None
        if there is none, no other finalist, or a front, whose members stay.
        """
        ranked = self._ranked_others()
        fitted = [f for f in ranked if f in among and not f.is_trained]
        is_dropped = fitted and ranked[1:] and not self.has_costs
        return self._without(fitted[-1], in_round=in_round) if is_dropped else None

    def _without(self, worst: Finalist, *, in_round: int) -> Self:
        finalists = [replace(f, dropped_in=in_round) if f is worst else f for f in self.finalists]
        return replace(self, finalists=finalists)

    def _signed_mean(self, finalist: Finalist) -> float:
        """Return the mean of a finalist's repeats in the rounds so far, or its value of the search
        without a repeat, signed so that more is better. Repeats on later seeds, from an earlier
        confirmation, do not count yet.
        """
        repeats = (finalist.repeats.get(seed) for seed in self.seeds[: self.rounds])
        values = [value for value in repeats if value is not None]
        return round(sign(self.metric) * statistics.mean(values or [finalist.search_value]), DIGITS)

    def _beats(self, finalist: Finalist, other: Finalist) -> bool:
        return self._signed_mean(finalist) > self._signed_mean(other) and all(
            own <= others for own, others in zip(finalist.costs, other.costs, strict=True)
        )

    def save(self, folder: StudyDir) -> None:
        documents.write(folder.confirmation_path, self)

    @classmethod
    def load(cls, folder: StudyDir) -> Self | None:
        if not folder.confirmation_path.exists():
            return None
        stored = documents.read(
            folder.confirmation_path,
            cls,
            error=StudyError,
            remedy="Remove the file and confirm the study again.",
        )
        if stored.is_resplit:
            return stored
        # Earlier versions left a configuration in `others` that had become a finalist.
        numbers = {f.trial for f in stored.finalists}
        return replace(stored, others=[f for f in stored.others if f.trial not in numbers])
