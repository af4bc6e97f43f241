"""The claims of a confirmation, checked in repeated searches over tabulated trainings.

A search is 50 trials of Optuna's TPE on one seed. The confirmation is this program's own
(`tuning.confirmation`) on the other seeds. The confirmed best is compared with Optuna's
`best_trial` after the same number of trainings: for this, the search continues for as many
trainings as the confirmation took.

In addition, confirmations of simulated finalists are run. They measure how often the best finalist
is called better than the baseline: wrongly, if all finalists are exactly as good as the baseline;
rightly, if one finalist is better. They also measure how often the interval of the confirmed best
contains its true value. The tables overstate this coverage, because their truth is the mean over
all seeds, and the confirmation has seen most of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.goals import figures
from benchmarks.settings import Settings
from benchmarks.sides import Sides
from benchmarks.tabulated import SETS, load, search
from tuning.confirmation.estimates import estimate
from tuning.confirmation.plan import due
from tuning.confirmation.record import N_FURTHER_SEEDS, Confirmation, Finalist
from tuning.data.splits import SplitReviews
from tuning.metrics import sign
from tuning.search.confirm import DEFAULT_SEEDS, DEFAULT_TOP
from tuning.targets.target import Array

N_TRIALS, TOP, N_REPETITIONS = 50, DEFAULT_TOP, 200
MAX_REPEATS = (TOP + 1) * DEFAULT_SEEDS + 3 * N_FURTHER_SEEDS
# Number of simulated confirmations of each case: the standard error of a rate of 2.5 % is 0.16 %.
N_SIMULATED = 10_000
# Standard deviation of a seed's common effect on all trainings, and of its effect on each training.
NOISE = 0.01
SEEDS = [*range(1, DEFAULT_SEEDS + N_FURTHER_SEEDS + 1)]


@dataclass(frozen=True)
class Case:
    """Simulated finalists: the first is better by `gain` than the baseline and the others.

    The noise of the baseline is `baseline_noise` times the noise of the finalists, because a
    notebook's model may vary more between seeds.
    """

    gain: float
    baseline_noise: float = 1.0


CASES = (Case(0.0, 1.0), Case(0.0, 5.0), *(Case(gain) for gain in (0.01, 0.02, 0.03)))


def measure(settings: Settings, splits: SplitReviews, sides: Sides) -> dict[str, Any]:
    n, n_simulated = settings.size((N_REPETITIONS, N_SIMULATED), tiny=(2, 10))
    data_sets: list[dict[str, Any]] = []
    with ProcessPoolExecutor(settings.n_workers) as processes:
        for family, name in SETS[: settings.size(None, tiny=1)]:
            sides.show(f"{family}, {name}: {n} searches")
            compare = partial(repeat, family, name, seed=settings.seed)
            repetitions = processes.map(compare, range(n), chunksize=max(n // 20, 1))
            data_sets.append({"family": family, "name": name, **summary_of(list(repetitions))})
        sides.show(f"simulated confirmations of {TOP} finalists")
        simulate = partial(called_better, n=n_simulated, seed=settings.seed)
        simulated = list(processes.map(simulate, CASES))
    values = {
        "confirmation_coverage": min(case["coverage"] for case in simulated),
        "confirmation_lower_regret": float(
            sum(means["regret"] < means["regret_of_best_trial"] for means in data_sets)
        ),
        "confirmation_false_better": max(
            case["called_better"] for case in simulated if not case["gain"]
        ),
    }
    return {
        **figures(values),
        "simulated": simulated,
        "n_simulated": n_simulated,
        "n_repetitions": n,
        "n_trials": N_TRIALS,
        "data_sets": data_sets,
    }


def repeat(family: str, name: str, number: int, *, seed: int) -> dict[str, float]:
    """Compare one search and its confirmation with Optuna's best trial after as many trainings."""
    table = load(family, name)
    seen = int(number % table.n_seeds)
    trials = search(
        table,
        seed=seed * N_REPETITIONS + number,
        seen=seen,
        n_trials=N_TRIALS + MAX_REPEATS,
    )
    direction = sign(table.metric)
    # Over all repetitions, each seed comes first, second and so on equally often.
    seeds = [(seen + step) % table.n_seeds for step in range(1, table.n_seeds)]
    confirmed = train(
        _confirmation(finalists(trials[:N_TRIALS], direction), seeds, metric=table.metric),
        lambda finalist, number: table.values[str(finalist.values["point"])][number],
    )
    estimates = estimate(confirmed)
    assert estimates is not None  # for mypy: no training fails
    chosen = estimates.best
    value, truth = estimates.means[chosen.trial], table.truth(str(chosen.values["point"]))
    naive = max(
        trials[: N_TRIALS + int(confirmed.spent_seconds)], key=lambda trial: direction * trial[1]
    )
    return {
        "held": float(value.low <= truth <= value.high),
        "error": direction * (value.value - truth),
        "error_of_best_trial": direction * (naive[1] - table.truth(naive[0])),
        "regret": direction * (table.best_truth - truth),
        "regret_of_best_trial": direction * (table.best_truth - table.truth(naive[0])),
        "trainings": N_TRIALS + confirmed.spent_seconds,
    }


def train(confirmation: Confirmation, value: Callable[[Finalist, int], float]) -> Confirmation:
    """Return a finished confirmation whose repeats have the values `value(finalist, seed)`."""
    while repeats := due(confirmation):
        for finalist, seed in repeats:
            confirmation = confirmation.with_repeat(
                finalist.trial, seed, value(finalist, seed), seconds=finalist.seconds
            )
    return confirmation


def _confirmation(made: list[Finalist], seeds: list[int], *, metric: str) -> Confirmation:
    return Confirmation(metric, seeds[:DEFAULT_SEEDS], seeds[DEFAULT_SEEDS : len(SEEDS)], made)


def called_better(case: Case, *, n: int, seed: int) -> dict[str, Any]:
    """Return the share of `n` simulated confirmations that call their best better than the
    baseline, the share in which this best is the better finalist, the share in which the interval
    of the best contains its true value, and the mean number of trainings.

    The baseline and all finalists except the first have the same true value. A training's value is
    its true value plus two normal deviations of scale `NOISE`: one of the seed, for all trainings,
    and one of the training.
    """
    rng = np.random.default_rng([seed, CASES.index(case)])
    scale = {
        trial: NOISE * (case.baseline_noise if trial == 0 else 1.0) for trial in range(TOP + 1)
    }
    truth = {trial: 0.8 + case.gain * (trial == 1) for trial in scale}
    n_called = n_right = n_held = n_trainings = 0
    for _ in range(n):
        shifts = rng.normal(0, NOISE, len(SEEDS) + 1)
        searched = {trial: float(rng.normal(truth[trial], scale[trial])) for trial in scale}
        simulated = [
            Finalist(trial, {}, value, 1.0, is_baseline=trial == 0)
            for trial, value in searched.items()
        ]
        confirmed = _confirmation(simulated, SEEDS, metric="val_accuracy")

        def value(finalist: Finalist, number: int, *, shifts: Array = shifts) -> float:
            mean = truth[finalist.trial] + shifts[number]
            return float(rng.normal(mean, scale[finalist.trial]))

        confirmed = train(confirmed, value)
        estimates = estimate(confirmed)
        assert estimates is not None  # for mypy: no training fails
        best, difference = estimates.best.trial, estimates.difference
        n_trainings += int(confirmed.spent_seconds)
        n_held += estimates.means[best].low <= truth[best] <= estimates.means[best].high
        if difference is not None and difference.low > 0:
            n_called += 1
            n_right += best == 1
    return {
        **asdict(case),
        "called_better": n_called / n,
        "found": n_right / n,
        "coverage": n_held / n,
        "trainings": n_trainings / n,
    }


def finalists(trials: list[tuple[str, float]], direction: int) -> list[Finalist]:
    """Return the best distinct configurations, and the baseline, which is the first trial."""
    first: dict[str, Finalist] = {}
    for number, (point, value) in enumerate(trials):
        first.setdefault(
            point, Finalist(number, {"point": point}, value, 1.0, is_baseline=number == 0)
        )
    ranked = sorted(first.values(), key=lambda each: (-direction * each.search_value, each.trial))
    others = [finalist for finalist in ranked if not finalist.is_baseline][:TOP]
    return [*others, *(finalist for finalist in ranked if finalist.is_baseline)]


def summary_of(repetitions: list[dict[str, float]]) -> dict[str, float]:
    means = {
        name: statistics.mean(repetition[name] for repetition in repetitions)
        for name in repetitions[0]
    }
    means["coverage"] = means.pop("held")
    differences = [values["regret_of_best_trial"] - values["regret"] for values in repetitions]
    return {
        **means,
        # The standard error of the difference of the two regrets.
        "regret_difference_error": float(np.std(differences, ddof=1) / len(differences) ** 0.5),
    }
