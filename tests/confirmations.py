"""Confirmations with values in the place of trainings."""

from collections.abc import Callable
from dataclasses import replace

from tuning.confirmation.estimates import Estimates, estimate
from tuning.confirmation.plan import due
from tuning.confirmation.record import Confirmation, Finalist

SEEDS = [1, 2, 3, 4, 5]


def finalists(*values: float, seconds: float = 1.0) -> list[Finalist]:
    """The baseline is the last, trial 0."""
    trials = [*range(1, len(values)), 0]
    return [
        Finalist(t, {}, value, seconds, is_baseline=t == 0)
        for t, value in zip(trials, values, strict=True)
    ]


def begin(*values: float, n_seeds: int = 3, metric: str = "val_accuracy") -> Confirmation:
    return Confirmation(metric, SEEDS[:n_seeds], SEEDS[n_seeds:], finalists(*values))


def play(
    confirmation: Confirmation, value: Callable[[int, int], float | None]
) -> tuple[Confirmation, list[tuple[int, int]]]:
    """Train all repeats that are due, with the value `value(trial, seed)`, and return the finished
    confirmation and (trial, seed) of each repeat. A repeat without a value has failed.
    """
    done = []
    while repeats := due(confirmation):
        for finalist, seed in repeats:
            metric_value = value(finalist.trial, seed)
            confirmation = confirmation.with_repeat(
                finalist.trial,
                seed,
                metric_value,
                seconds=finalist.seconds,
                failure="NaN loss" if metric_value is None else None,
            )
            done.append((finalist.trial, seed))
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
    return Confirmation(metric, SEEDS[: max(map(len, repeats.values()))], [], made)


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
    return Confirmation("val_accuracy", SEEDS[:3], [], made)
