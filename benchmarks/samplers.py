"""The samplers of this program in repeated searches over tabulated trainings.

The regret of a search is the true value of its best trial, by the values of one seed that the
search has seen: 0 for the best configuration of the table, and 1 for a median configuration.

A flat space is one of the 12 tables. A conditional space has an architecture, of 3 or of 7, whose
hyperparameters and values are those of a table drawn at random. One of them contains the best
configuration and is the slowest; 0.05 to 0.5 is added to the regrets of the others. Workers end
trials in the order of their durations.
"""

from __future__ import annotations

import heapq
import itertools
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import optuna

from benchmarks.goals import figures
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from benchmarks.tabulated import SETS, load
from tuning.data.splits import SplitReviews
from tuning.evaluation.statistics import mean_interval
from tuning.spaces.hyperparameters import defaults, suggest, to_params
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Hyperparameter, Values
from tuning.study.samplers import derive_seed, make_sampler
from tuning.targets.target import Array

N_SEEDS = 100


@dataclass(frozen=True)
class Case:
    """Searches in spaces with these numbers of architectures; 1 means a flat space."""

    architectures: tuple[int, ...]
    n_workers: int
    n_trials: int = 50


SAMPLERS = ("random", "tpe")
CASES = {
    "flat": Case((1,), 1),
    "flat, 8 workers": Case((1,), 8),
    "conditional": Case((3, 7), 2, 60),
}
N_RANDOM = 100  # number of trials of random searches, with which the others are compared


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
    n_seeds = settings.size(N_SEEDS, tiny=2)
    regrets: dict[str, dict[str, Array]] = {}
    with ProcessPoolExecutor(settings.n_workers) as processes:
        for name, case in CASES.items():
            for sampler in SAMPLERS:
                sides.show(f"{name}, {sampler}: searches of {n_seeds} seeds")
                search = partial(mean_regrets, case, sampler, tiny=settings.tiny)
                by_seed = np.array([*processes.map(search, range(n_seeds))])
                regrets.setdefault(name, {})[sampler] = by_seed
    cases = {
        name: {
            sampler: {
                "regret": by_seed.mean(axis=0).round(4).tolist(),
                "minus_random": minus_random(by_seed, of["random"]),
            }
            for sampler, by_seed in of.items()
        }
        for name, of in regrets.items()
    }
    return {**figures(values_of(regrets)), "n_seeds": n_seeds, "cases": cases}


def values_of(regrets: dict[str, dict[str, Array]]) -> dict[str, float | str]:
    def n_trials(case: str, n_random: int) -> float | str:
        """Return after how many trials the mean regret is that of `n_random` random trials."""
        means = {sampler: values.mean(axis=0) for sampler, values in regrets[case].items()}
        (reached,) = np.nonzero(means["tpe"] <= means["random"][n_random - 1])
        return float(reached[0] + 1) if len(reached) else f"not in {len(means['auto'])} trials"

    def upper(case: str) -> float:
        return float(minus_random(regrets[case]["tpe"], regrets[case]["random"])["50"][2])

    return {
        "flat_trials_50": n_trials("flat", 50),
        "flat_trials_100": n_trials("flat", 100),
        "workers_trials_50": n_trials("flat, 8 workers", 50),
        "workers_difference": upper("flat, 8 workers"),
        "conditional_trials_50": n_trials("conditional", 50),
        "conditional_trials_100": n_trials("conditional", 100),
        "conditional_difference": upper("conditional"),
    }


def minus_random(regrets: Array, of_random: Array) -> dict[str, tuple[float, float, float]]:
    """Return number of trials → mean difference by seed, with both ends of its interval."""
    differences = {n: regrets[:, n - 1] - of_random[:, n - 1] for n in (10, 20, 50)}
    intervals = {n: mean_interval(values.tolist()) for n, values in differences.items()}
    return {str(n): (each.value, each.low, each.high) for n, each in intervals.items()}


def mean_regrets(case: Case, sampler: str, seed: int, *, tiny: bool = False) -> Array:
    """Return the mean regret over the spaces after each trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # TPE in groups
    n_trials = N_RANDOM if sampler == "random" else case.n_trials
    means = []
    for n in case.architectures:
        rng = np.random.default_rng([77, seed])
        drawn = [[SETS[i] for i in rng.choice(len(SETS), n, replace=False)] for _ in range(4)]
        spaces = drawn if n > 1 else [[each] for each in SETS]
        curves = [
            search(Landscape(tables, seed), sampler, n_workers=case.n_workers, n_trials=n_trials)
            for tables in spaces[: 1 if tiny else None]
        ]
        means.append(np.mean(curves, axis=0))
    mean: Array = np.mean(means, axis=0)
    return mean


class Landscape:
    """A search space, and the value, the regret and the seconds of each of its configurations."""

    def __init__(self, tables: list[tuple[str, str]], seed: int) -> None:
        rng, n = np.random.default_rng([seed, zlib.crc32(repr(tables).encode())]), len(tables)
        self.seed, self._tables = seed, [tables[i] for i in rng.permutation(n)]
        self._offsets, self._slowness, self._scale = np.zeros(n), np.ones(n), 1.0
        if n == 1:
            self.space = SearchSpace("flat", hyperparameters(self._tables[0]))
            return
        architecture = Hyperparameter(
            name="architecture",
            kind="choice",
            default=int(rng.integers(n)),
            choices=tuple(range(n)),
        )
        others = [
            hyperparameters(table, (("architecture", (i,)),))
            for i, table in enumerate(self._tables)
        ]
        self.space = SearchSpace("conditional", (architecture, *itertools.chain(*others)))
        is_best = np.arange(n) == rng.integers(n)
        self._offsets = np.where(is_best, 0.0, rng.uniform(0.05, 0.5, n))
        self._slowness = np.where(is_best, 3.0, rng.uniform(0.5, 2.0, n))
        # The scale is the median regret, where each architecture is equally likely.
        quantiles = [
            np.quantile(offset + regrets_of(*table)[1], np.linspace(0, 1, 1001))
            for offset, table in zip(self._offsets, self._tables, strict=True)
        ]
        self._scale = float(np.median(quantiles))

    def result(self, values: Values) -> tuple[float, float, float]:
        """Return the value that the search sees, the regret and the seconds."""
        which = int(values.get("architecture", 0))
        family, name = self._tables[which]
        table = load(family, name)
        row = rows(family, name)["".join(str(values[axis]) for axis, _, _ in table.axes)]
        seen, truth = regrets_of(family, name)
        return (
            float((self._offsets[which] + seen[row, self.seed % table.n_seeds]) / self._scale),
            float((self._offsets[which] + truth[row]) / self._scale),
            table.seconds[row] * self._slowness[which],
        )


@cache
def rows(family: str, name: str) -> dict[str, int]:
    return {point: row for row, point in enumerate(load(family, name).values)}


@cache
def regrets_of(family: str, name: str) -> tuple[Array, Array]:
    """Return the regret of each configuration with each seed, and its true regret."""
    table = load(family, name)
    values = np.array([*table.values.values()])
    truth = values.mean(axis=1)
    scale = table.best_truth - np.median(truth)
    return (table.best_truth - values) / scale, (table.best_truth - truth) / scale


def hyperparameters(
    table: tuple[str, str], conditions: tuple[tuple[str, tuple[int, ...]], ...] = ()
) -> tuple[Hyperparameter, ...]:
    return tuple(
        Hyperparameter(
            name=axis,
            default=n // 2,
            conditions=conditions,
            **(
                {"kind": "int", "low": 0, "high": n - 1, "step": 1}
                if ordered
                else {"kind": "choice", "choices": tuple(range(n))}
            ),
        )
        for axis, n, ordered in load(*table).axes
    )


def search(landscape: Landscape, sampler: str, *, n_workers: int, n_trials: int) -> list[float]:
    """Return the regret of the best trial after the end of each trial. Workers are simulated: a
    free worker asks for a new trial.
    """
    space, seed = landscape.space.hyperparameters, landscape.seed
    study = optuna.create_study(direction="minimize")
    study.enqueue_trial(to_params(defaults(space), space), user_attrs={"baseline": True})
    running: list[tuple[float, int, float, float]] = []  # end, number, value and regret
    now, best, regrets = 0.0, (np.inf, np.inf), list[float]()
    while len(regrets) < n_trials:
        while len(running) < n_workers:
            own = derive_seed(seed, len(regrets) + len(running))
            study.sampler = make_sampler(sampler, seed=own, study_seed=seed)
            trial = study.ask()
            value, regret, seconds = landscape.result(suggest(trial, space))
            heapq.heappush(running, (now + seconds, trial.number, value, regret))
        now, number, value, regret = heapq.heappop(running)
        study.tell(number, value)
        best = min(best, (value, regret))
        regrets.append(best[1])
    return regrets
