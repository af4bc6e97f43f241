"""Confirmations with values in the place of trainings."""

import math
from collections.abc import Callable
from dataclasses import replace

from tuning.confirmation.estimates import Estimates, estimate
from tuning.confirmation.rounds import Confirmation, Finalist

SEEDS = [1, 2, 3, 4, 5]


def finalists(*values: float, seconds: float = 1.0) -> list[Finalist]:
    """The baseline is the last, trial 0."""
    trials = [*range(1, len(values)), 0]
    return [
        Finalist(t, {}, value, seconds, is_baseline=t == 0)
        for t, value in zip(trials, values, strict=True)
    ]


def begin(
    *values: float, n_seeds: int = 5, budget: float = math.inf, metric: str = "val_accuracy"
) -> Confirmation:
    return Confirmation(metric, SEEDS[:n_seeds], 100.0, budget, finalists(*values))


def play(
    confirmation: Confirmation,
    value: Callable[[int, int], float | None],
    *,
    seconds: float | None = 1.0,
) -> tuple[Confirmation, list[tuple[int, int]]]:
    """Train all repeats that are due, with the value `value(trial, seed)`, and return the finished
    confirmation and (trial, seed) of each repeat. A repeat without a value has failed.

    `seconds`: of each repeat; None: as many as expected.
    """
    done = []
    confirmation, due = confirmation.advance()
    while due:
        for finalist, seed in due:
            metric_value = value(finalist.trial, seed)
            confirmation = confirmation.with_repeat(
                finalist.trial,
                seed,
                metric_value,
                seconds=finalist.seconds if seconds is None else seconds,
                failure="NaN loss" if metric_value is None else None,
            )
            done.append((finalist.trial, seed))
        confirmation, due = confirmation.advance()
    return confirmation, done


def with_repeats(
    repeats: dict[int, list[float | None]], *, metric: str = "val_accuracy"
) -> Confirmation:
    """A finished confirmation with these repeats by trial; trial 0 is the baseline."""
    made = []
    for trial, values in repeats.items():
        kept = dict(zip(SEEDS, values, strict=False))
        failures = {seed: "NaN loss" for seed, value in kept.items() if value is None}
        made.append(
            Finalist(trial, {}, 0.9, 1.0, is_baseline=trial == 0, repeats=kept, failures=failures)
        )
    return Confirmation(metric, SEEDS, 100.0, math.inf, made, rounds=5, is_over=True)


def estimated(confirmation: Confirmation) -> Estimates:
    estimates = estimate(confirmation)
    assert estimates is not None
    return estimates


def on_front(*points: tuple[float, float]) -> Confirmation:
    """Finalists by value and cost; the last is the baseline, trial 0."""
    made = [
        replace(finalist, costs=[cost])
        for finalist, (_, cost) in zip(finalists(*(p[0] for p in points)), points, strict=True)
    ]
    return Confirmation("val_accuracy", SEEDS, 100.0, math.inf, made)


def pruned(*seconds: float) -> list[Finalist]:
    return [Finalist(90 + n, {}, 0.4, one_repeat, epochs=5) for n, one_repeat in enumerate(seconds)]
