"""What a search's best configurations are worth on fresh seeds: the finalists, their repeats, and
which is due next.

A search's best value is the luckiest of many, so it is too good (the optimism, or winner's curse).
Repeats on seeds that the search has not used are not. Finalists are given up one a round:
successive rejects (Audibert, Bubeck and Munos, COLT 2010) with rounds of one seed. The two best and
the baseline stay until they have had `MIN_ROUNDS` seeds, below which nothing is called confirmed.
With several objectives only one that another finalist beats in all of them is given up. What time
is left then goes to a sample of pruned trials, which are trained to the end as if nothing had
pruned them. Knows no Keras and no Optuna.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from tuning import documents
from tuning.config import sign
from tuning.errors import StudyError
from tuning.results import StudyDir

MIN_ROUNDS = (
    3  # seeds that all who are left must have had before the best of them is called confirmed
)
DEFAULT_SHARE = 0.25  # default budget of a confirmation, as a share of the search's worker seconds


@dataclass
class Finalist:
    """A configuration that is trained again, for the `epochs` after which its trial was best, as an
    export is.

    `seconds` are what that is expected to take a worker; `same` are other trials of the same
    configuration. `repeats`: seed → value after the last epoch, None where the training failed, for
    the reason in `failures`. `costs`: the study's other objectives, which no seed changes.
    `is_over_limit`: it is there to compare with, and can't be chosen.
    """

    refuses_unknown_keys: ClassVar[bool] = True

    trial: int
    values: dict[str, bool | int | float | str]
    search_value: float
    seconds: float
    is_baseline: bool = False
    is_over_limit: bool = False
    costs: list[float] = field(default_factory=list)
    epochs: int = 1
    same: list[int] = field(default_factory=list)
    repeats: dict[int, float | None] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    dropped_in: int = 0  # the round after which it was given up; 0: not

    @property
    def found(self) -> list[float]:
        return [value for value in self.repeats.values() if value is not None]

    @property
    def is_alive(self) -> bool:
        return not self.dropped_in and not self.failures


@dataclass
class Confirmation:
    """The finalists of a study, and how far their repeats have come. `rounds` counts the seeds that
    all who were left have had.

    `n_guaranteed` rounds of the two best and the baseline are trained whatever they cost; the
    budget bounds the rest. `pruned` is a sample of the search's pruned trials; their one repeat, on
    `search_seed`, is the best value of a training to the end.
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

    @property
    def has_costs(self) -> bool:
        """Whether the study has several objectives, and so a front instead of one best."""
        return any(one.costs for one in self.finalists)

    @property
    def share(self) -> float:
        """What the repeats cost, as a share of the search."""
        return self.spent_seconds / self.search_seconds if self.search_seconds else 0.0

    @property
    def baseline(self) -> Finalist | None:
        return next((one for one in self.finalists if one.is_baseline), None)

    def due(self) -> list[tuple[Finalist, int]]:
        """What the next round still lacks, after giving up what the budget can't pay; then the
        sample of pruned trials; then nothing.

        The baseline and the leader are given up last: without both there is nothing to compare.
        """
        while not self.is_over and self.rounds < len(self.seeds):
            seed = self.seeds[self.rounds]
            missing = [one for one in self._alive() if seed not in one.repeats]
            if not missing:
                self._end_round()
                continue
            needed = self.spent_seconds + sum(one.seconds for one in missing)
            if needed + self._reserve() <= self.budget_seconds or self._is_guaranteed(missing):
                return [(one, seed) for one in missing]
            if self._give_up_worst(
                in_round=self.rounds + 1, among=missing
            ):  # giving up the others would save nothing
                continue
            if needed <= self.budget_seconds:
                return [(one, seed) for one in missing]
            break
        found = self._due_pruned() if not self.is_over else []
        self.is_over = not found
        return found

    def _due_pruned(self) -> list[tuple[Finalist, int]]:
        """As many of the pruned trials as the budget pays, in their random order; none where it
        does not pay a round of repeats.
        """
        if not self.rounds:
            return []
        left, found = self.budget_seconds - self.spent_seconds, []
        for one in self.pruned:
            left -= 0.0 if one.repeats else one.seconds
            if left < 0:
                break
            if not one.repeats:
                found.append((one, self.search_seed))
        return found

    def _reserve(self) -> float:
        """Seconds to keep for the later of the first `MIN_ROUNDS` rounds, of the two best and the
        baseline.
        """
        kept = [*self._ranked_others()[:2], *(one for one in self._alive() if one.is_baseline)]
        return _missing_seconds(kept, self.seeds[self.rounds + 1 : MIN_ROUNDS])

    def _is_guaranteed(self, missing: Sequence[Finalist]) -> bool:
        """Whether the next round trains two configurations and the baseline at most (or a front,
        which gives up none of its own).
        """
        return self.rounds < self.n_guaranteed and (
            self.has_costs or sum(not one.is_baseline for one in missing) <= 2
        )

    def _end_round(self) -> None:
        self.rounds += 1
        if self.rounds < len(self.seeds) and (
            self.rounds >= MIN_ROUNDS or len(self._ranked_others()) > 2
        ):
            self._give_up_worst(in_round=self.rounds, among=self.finalists)

    def _ranked_others(self) -> list[Finalist]:
        """The finalists that are left beside the baseline, the best first; of equal ones the
        earlier trial.
        """
        return sorted(
            (one for one in self._alive() if not one.is_baseline),
            key=lambda one: (-self._standing(one), one.trial),
        )

    def _alive(self) -> list[Finalist]:
        return [one for one in self.finalists if one.is_alive]

    def _give_up_worst(self, *, in_round: int, among: Sequence[Finalist]) -> bool:
        """Give up one of some finalists, the baseline never and the last one not; returns whether
        there was one to give up.

        The worst is so by the mean of its repeats, by its value in the search where it has none; of
        equal ones it is the later trial.
        """
        others = self._ranked_others()
        beaten = (
            [one for one in others if any(self._beats(other, one) for other in others)]
            if self.has_costs
            else others
        )
        beaten = [one for one in beaten if one in among]
        if len(others) < 2 or not beaten:
            return False
        beaten[-1].dropped_in = in_round
        return True

    def _standing(self, one: Finalist) -> float:
        """How good a finalist is by the rounds so far; repeats of an earlier confirmation on later
        seeds don't count yet.
        """
        found = [
            value
            for seed in self.seeds[: self.rounds]
            if (value := one.repeats.get(seed)) is not None
        ]
        return sign(self.metric) * statistics.mean(found or [one.search_value])

    def _beats(self, one: Finalist, other: Finalist) -> bool:
        """Whether one is better than the other by the metric, and costs no more."""
        return self._standing(one) > self._standing(other) and all(
            a <= b for a, b in zip(one.costs, other.costs, strict=True)
        )

    def save(self, folder: StudyDir) -> None:
        """Write `confirmation.json`."""
        documents.write(folder.confirmation_path, self)

    @classmethod
    def load(cls, folder: StudyDir) -> Self | None:
        """What a study's folder holds of one; None where there is none.

        Raises:
            StudyError: `confirmation.json` does not hold one.
        """
        if not folder.confirmation_path.exists():
            return None
        return documents.read(
            folder.confirmation_path,
            cls,
            error=StudyError,
            remedy="Remove the file and type `make confirm` to confirm the study anew.",
        )


def confirmation(
    finalists: list[Finalist],
    *,
    metric: str,
    seeds: list[int],
    search_seconds: float,
    spent_seconds: float = 0.0,
    share: float | None = None,
    pruned: Sequence[Finalist] = (),
    search_seed: int = 0,
) -> Confirmation:
    """A confirmation to begin with: as many finalists as leave time for `MIN_ROUNDS` seeds of the
    two best and the baseline.

    Finalists that have repeats out of an earlier confirmation, which took `spent_seconds`, stay:
    those repeats cost nothing. `share`: the maximum of all worker seconds as a share of the
    search's. By default it is `DEFAULT_SHARE`, and more where `MIN_ROUNDS` seeds of the two best
    and the baseline need more. Of a front its middle is left out first, so that the best and the
    cheapest stay.
    """
    baseline = [one for one in finalists if one.is_baseline]
    others = sorted(
        (one for one in finalists if not one.is_baseline),
        key=lambda one: -sign(metric) * one.search_value,
    )
    first, later = seeds[:1], seeds[1:MIN_ROUNDS]
    least = sum(one.seconds for one in [*others[:2], *baseline]) * len(seeds[:MIN_ROUNDS])
    budget = max(DEFAULT_SHARE * search_seconds, least) if share is None else share * search_seconds

    def needed() -> float:
        return (
            spent_seconds
            + _missing_seconds([*others, *baseline], first)
            + _missing_seconds([*others[:2], *baseline], later)
        )

    while needed() > budget:
        new = [one for one in others if not one.repeats]
        if not new or len(others) == 1 or (share is None and len(new) <= 2):
            break
        others.remove(new[len(new) // 2 if new[0].costs else -1])
    return Confirmation(
        metric,
        seeds,
        search_seconds,
        budget,
        [*others, *baseline],
        spent_seconds=spent_seconds,
        pruned=[*pruned],
        search_seed=search_seed,
        n_guaranteed=len(seeds[:MIN_ROUNDS]) if share is None else 0,
    )


def _missing_seconds(finalists: Sequence[Finalist], seeds: Sequence[int]) -> float:
    """Worker seconds that the repeats on these seeds take, without those that there are."""
    return sum(one.seconds for one in finalists for seed in seeds if seed not in one.repeats)


def expected(found: Confirmation, *, n_workers: int) -> tuple[int, float]:
    """How many trainings a confirmation is going to make and how many seconds they take, if repeats
    are what the search found.
    """
    planned, n_trainings, seconds = copy.deepcopy(found), 0, 0.0
    while due := planned.due():
        for one, seed in due:
            one.repeats[seed] = one.search_value
            planned.spent_seconds += one.seconds
        n_trainings += len(due)
        seconds += sum(one.seconds for one, _ in due) / min(n_workers, len(due))
    return n_trainings, seconds
