"""What a search's best configurations are worth on fresh seeds: the finalists, their repeats, and the verdict.

A search's best value is the luckiest of many, so it is too good (the optimism, or winner's curse). Repeats on seeds that the search has
not used are not. Finalists are given up one a round: successive rejects (Audibert, Bubeck and Munos, COLT 2010) with rounds of one seed.
Knows no Keras and no Optuna.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from scipy import stats

from tuning.config import sign
from tuning.results import StudyDir, read_json, write_json
from tuning.statistics import LEVEL, Interval

RESOLUTION = 0.01  # the difference that "n more seeds would resolve"
MAX_SEEDS = 1000


@dataclass
class Finalist:
    """A configuration that is trained again, for the `epochs` after which its trial was best, as an export is.

    `seconds` are what that is expected to take a worker; `same` are other trials of the same configuration. `repeats`: seed → value after
    the last epoch, None where the training failed, for the reason in `failures`.
    """

    trial: int
    values: dict[str, Any]
    search_value: float
    seconds: float
    is_baseline: bool = False
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

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        numbered = {name: {int(seed): found for seed, found in values[name].items()} for name in ("repeats", "failures")}
        return cls(**{**values, **numbered})


@dataclass
class Confirmation:
    """The finalists of a study, and how far their repeats have come. `rounds` counts the seeds that all who were left have had."""

    metric: str
    seeds: list[int]
    search_seconds: float
    budget_seconds: float
    finalists: list[Finalist]
    spent_seconds: float = 0.0
    rounds: int = 0
    is_over: bool = False

    @property
    def share(self) -> float:
        """What the repeats cost, as a share of the search."""
        return self.spent_seconds / self.search_seconds if self.search_seconds else 0.0

    @property
    def baseline(self) -> Finalist | None:
        return next((one for one in self.finalists if one.is_baseline), None)

    def due(self) -> list[tuple[Finalist, int]]:
        """What the next round still lacks, after giving up what the budget can't pay; nothing when the confirmation is over.

        The baseline and the leader are given up last: without both there is nothing to compare.
        """
        while not self.is_over and self.rounds < len(self.seeds):
            seed = self.seeds[self.rounds]
            missing = [one for one in self._alive() if seed not in one.repeats]
            if not missing:
                self._end_round()
                continue
            if self.spent_seconds + sum(one.seconds for one in missing) <= self.budget_seconds:
                return [(one, seed) for one in missing]
            if not self._give_up_worst(in_round=self.rounds + 1):
                break
        self.is_over = True
        return []

    def _end_round(self) -> None:
        self.rounds += 1
        if self.rounds < len(self.seeds):
            self._give_up_worst(in_round=self.rounds)

    def _alive(self) -> list[Finalist]:
        return [one for one in self.finalists if one.is_alive]

    def _give_up_worst(self, *, in_round: int) -> bool:
        """Give up a finalist, the baseline never and the last one not; returns whether there was one to give up.

        The worst is so by the mean of its repeats, by its value in the search where it has none; of equal ones it is the later trial.
        """
        others = [one for one in self._alive() if not one.is_baseline]
        if len(others) < 2:
            return False
        towards = sign(self.metric)
        worst = min(others, key=lambda one: (towards * statistics.mean(one.found or [one.search_value]), -one.trial))
        worst.dropped_in = in_round
        return True

    def save(self, folder: StudyDir) -> None:
        """Write `confirmation.json`."""
        write_json(folder.confirmation_path, dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: StudyDir) -> Self | None:
        """What a study's folder holds of one; None where there is none."""
        if not folder.confirmation_path.exists():
            return None
        values = read_json(folder.confirmation_path)
        return cls(**{**values, "finalists": [Finalist.from_dict(one) for one in values["finalists"]]})


def confirmation(finalists: list[Finalist], *, metric: str, seeds: list[int], search_seconds: float, share: float) -> Confirmation:
    """A confirmation to begin with: as many finalists, the best first, as leave time for three seeds of the best and the baseline."""
    budget = share * search_seconds
    baseline = [one for one in finalists if one.is_baseline]
    others = sorted((one for one in finalists if not one.is_baseline), key=lambda one: -sign(metric) * one.search_value)
    pair = sum(one.seconds for one in [*baseline, *others[:1]])
    n_later = min(len(seeds), 3) - 1
    while len(others) > 1 and sum(one.seconds for one in [*baseline, *others]) + n_later * pair > budget:
        others.pop()
    return Confirmation(metric, seeds, search_seconds, budget, [*others, *baseline])


@dataclass(frozen=True)
class Judgement:
    """What a confirmation says.

    `means`: trial → corrected mean of its repeats; `best`: the confirmed best; `naive`: the best of the search; `difference`: the confirmed
    best minus the baseline over shared seeds, None where one of them has no repeat or they are the same.
    """

    best: Finalist
    naive: Finalist
    means: dict[int, Interval]
    difference: Interval | None
    n_pairs: int
    seeds_to_resolve: int | None

    @property
    def optimism(self) -> float | None:
        """By how much the search's best value is above the corrected mean of the same configuration."""
        mean = self.means.get(self.naive.trial)
        return None if mean is None else self.naive.search_value - mean.value


def judge(found: Confirmation) -> Judgement | None:
    """The verdict; None before there is a repeat.

    The mean of each finalist is drawn towards that of all, by as much as the noise of the seeds explains their spread (empirical Bayes:
    Efron and Morris, 1975), which takes out what is left of the luck of the best. Those that were not given up have had the same seeds, so
    the order of their means stays. Intervals are Student's, with the variance between seeds pooled over the finalists, since each has few.
    """
    towards = sign(found.metric)
    tried = [one for one in found.finalists if one.found and not one.failures]
    if not tried:
        return None
    variance, degrees = _pooled([one.found for one in tried])
    means = _corrected(tried, variance, degrees)
    left = [one for one in tried if one.is_alive] or tried
    best = max(left, key=lambda one: (towards * statistics.mean(one.found), towards * one.search_value, -one.trial))
    naive = max(found.finalists, key=lambda one: (towards * one.search_value, -one.trial))
    difference, n_pairs, resolving = None, 0, None
    baseline = found.baseline
    if baseline in tried and best is not baseline:
        pairs = {one.trial: _differences(one, baseline) for one in tried if one is not baseline}
        own = pairs[best.trial]
        n_pairs = len(own)
        pair_variance, pair_degrees = _pooled(list(pairs.values()))
        if own:
            difference = _interval(statistics.mean(own), pair_variance / n_pairs, pair_degrees)
            resolving = _seeds_to_resolve(pair_variance, n_pairs) if pair_degrees else None
    return Judgement(best, naive, means, difference, n_pairs, resolving)


def _differences(one: Finalist, other: Finalist) -> list[float]:
    """The differences of two finalists on the seeds that both have had."""
    return [value - theirs for seed, value in one.repeats.items() if value is not None and (theirs := other.repeats.get(seed)) is not None]


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The variance within groups, and its degrees of freedom; NaN where no group has two values."""
    degrees = sum(len(group) - 1 for group in groups if group)
    squares = sum(float(np.var(group)) * len(group) for group in groups if group)
    return (squares / degrees, degrees) if degrees else (math.nan, 0)


def _corrected(finalists: Sequence[Finalist], variance: float, degrees: int) -> dict[int, Interval]:
    means = {one.trial: statistics.mean(one.found) for one in finalists}
    noise = {one.trial: variance / len(one.found) for one in finalists}
    others = [one.trial for one in finalists if not one.is_baseline]
    centre = statistics.mean([means[trial] for trial in others]) if others else math.nan
    spread = statistics.variance([means[trial] for trial in others]) if len(others) > 1 else math.nan
    between = max(spread - statistics.mean([noise[trial] for trial in others]), 0.0) if spread > 0 else math.nan
    found = {}
    for trial, mean in means.items():
        weight = between / (between + noise[trial]) if between + noise[trial] > 0 else 1.0
        corrected = centre + weight * (mean - centre) if trial in others else mean
        found[trial] = _interval(corrected, noise[trial], degrees)
    return found


def _interval(mean: float, variance_of_mean: float, degrees: int) -> Interval:
    if not degrees:
        return Interval(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + LEVEL) / 2, degrees)) * math.sqrt(variance_of_mean)
    return Interval(mean, mean - half, mean + half)


def _seeds_to_resolve(variance: float, n_pairs: int) -> int | None:
    """How many more pairs would make the interval of their mean difference no wider than ± `RESOLUTION`."""
    for n in range(max(n_pairs, 2), MAX_SEEDS):
        if float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * math.sqrt(variance / n) <= RESOLUTION:
            return n - n_pairs
    return None


def sentences(found: Confirmation, judgement: Judgement) -> list[str]:
    """The verdict in words: the confirmed best against the baseline, the search's optimism, and what the repeats cost."""
    best = judgement.best
    n, value = len(best.found), judgement.means[best.trial]
    head = f"Trial {best.trial} is the confirmed best: {found.metric} {value} over {n} fresh seed{'' if n == 1 else 's'}."
    lines = [f"{head} {_against_the_baseline(found, judgement)}"]
    if judgement.optimism is not None:
        naive, mean = judgement.naive, judgement.means[judgement.naive.trial].value
        too_good = sign(found.metric) * judgement.optimism
        found_by = f"The search's best value, {naive.search_value:.4f} of trial {naive.trial}"
        size = f"too good by {too_good:.4f}" if too_good > 0 else f"not too good, by {too_good:+.4f}"
        lines.append(f"{found_by}, is {size}: the corrected mean of the same configuration is {mean:.4f}.")
    lines.append(f"The repeats cost {found.share:.0%} of the search.")
    return lines


def _against_the_baseline(found: Confirmation, judgement: Judgement) -> str:
    if judgement.best.is_baseline:
        return "It is the baseline: nothing that was tried is better."
    change, n = judgement.difference, judgement.n_pairs
    if change is None:
        return "The baseline has no repeat to compare with."
    seeds = f"on {n} shared seed{'' if n == 1 else 's'}"
    if math.isnan(change.low):
        return f"Against the baseline it has {change.value:+.4f} {seeds}, too few to say whether that is chance."
    if change.excludes_zero:
        low, high = sorted((abs(change.low), abs(change.high)))
        word = "better" if sign(found.metric) * change.value > 0 else "worse"
        return f"It is {word} than the baseline by {abs(change.value):.4f} [{low:.4f}, {high:.4f}] {seeds}."
    more = f"; {judgement.seeds_to_resolve} more seeds would resolve {RESOLUTION:g}" if judgement.seeds_to_resolve else ""
    interval = f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}] {seeds}"
    return f"It is not distinguishable from the baseline on these data: {interval}{more}."


def rows(found: Confirmation, judgement: Judgement) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of the finalists: value in the search, each repeat, corrected mean with its interval."""
    seeds = [seed for seed in found.seeds if any(seed in one.repeats for one in found.finalists)]
    header = ["trial", "in the search", *(f"seed {seed}" for seed in seeds), "corrected mean", "given up"]
    table = []
    for one in found.finalists:
        label = f"{one.trial} (baseline)" if one.is_baseline else str(one.trial)
        repeats = [_cell(one, seed) for seed in seeds]
        mean = judgement.means.get(one.trial)
        end = f"after seed {found.seeds[one.dropped_in - 1]}" if one.dropped_in else ", ".join(one.failures.values())
        table.append([label, f"{one.search_value:.4f}", *repeats, str(mean) if mean else "", end])
    if not any(row[-1] for row in table):
        return header[:-1], [row[:-1] for row in table]
    return header, table


def _cell(one: Finalist, seed: int) -> str:
    value = one.repeats.get(seed)
    return one.failures.get(seed, "") if value is None else f"{value:.4f}"
