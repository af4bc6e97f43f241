"""The expected gain of ten more trials, compared with the true one on tabulated trainings, and the
end of a search by it: `python -m benchmarks.expected_gain`.

The packages are those of `make bench`. 12 data sets, 20 searches of Optuna's TPE and 100 of random
draws on each. A starting point has a value that 3 % of random draws exceed. The true expected gain
is the mean over the searches.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.tabulated import SETS, Tabulated, load, search
from tuning.evaluation.statistics import expected_gain
from tuning.metrics import sign
from tuning.study.gain import MIN_DRAWN_OF_END, N_MORE

N_TPE, N_RANDOM, SIZES, LONGEST = 20, 100, (10, 20, 50), 50
Points = list[tuple[str, float]]


def searches(table: Tabulated, sampler: str) -> list[Points]:
    """Return searches of `LONGEST` draws and `N_MORE` further ones, after the first trial; the
    values are signed so that more is better.
    """
    towards, n = sign(table.metric), LONGEST + N_MORE + 1
    if sampler == "TPE":
        found = [
            search(table, seed=1000 + seed, seen=seed % table.n_seeds, n_trials=n)
            for seed in range(N_TPE)
        ]
    else:
        points, rng = list(table.values), np.random.default_rng(0)
        drawn = [rng.integers(0, len(points), n) for _ in range(N_RANDOM)]
        found = [
            [(points[at], table.values[points[at]][seed % table.n_seeds]) for at in own]
            for seed, own in enumerate(drawn)
        ]
    return [[(point, towards * value) for point, value in trials] for trials in found]


def predicted(trials: Points, n: int, start: float) -> tuple[float, float, float]:
    """Return the expected gain after `n` draws, its upper bound less it, and the realised gain."""
    values = [value for _, value in trials]
    best, later = max(*values[: n + 1], start), max(*values[: n + N_MORE + 1], start)
    gain = expected_gain(distinct(trials, n), best, n_more=N_MORE)
    return gain.value, gain.high - gain.value, later - best


def distinct(trials: Points, n: int) -> list[float]:
    return [*dict(trials[1 : n + 1]).values()]


def calibration(found: Sequence[Points], n: int, start: float) -> tuple[float, float, float]:
    """Return the mean predicted gain, the mean realised gain, and the share of the searches whose
    interval contains the mean realised gain.
    """
    gains = [predicted(trials, n, start) for trials in found]
    true = statistics.fmean(realised for *_, realised in gains)
    covered = [max(value - half, 0.0) <= true <= value + half for value, half, _ in gains]
    return statistics.fmean(value for value, *_ in gains), true, statistics.fmean(covered)


def gain_after_the_end(table: Tabulated, trials: Points) -> float:
    """Return what `N_MORE` more trials gain after the end of a search with `n_trials` auto, divided
    by the standard deviation between the table's seeds of the five best of 21 trials.
    """
    best = sorted(trials[: MIN_DRAWN_OF_END + 1], key=lambda trial: -trial[1])[:5]
    spread = float(np.sqrt(np.mean([np.var(table.values[point], ddof=1) for point, _ in best])))
    for n in range(MIN_DRAWN_OF_END, LONGEST + 1):
        expected, _, realised = predicted(trials, n, -np.inf)
        if expected <= spread and len(distinct(trials, n)) >= MIN_DRAWN_OF_END:
            break
    return realised / spread


def main() -> None:
    ratios: dict[tuple[str, int, bool], list[float]] = {}
    for family, name in SETS:
        table = load(family, name)
        found = {sampler: searches(table, sampler) for sampler in ("TPE", "random")}
        start = float(np.quantile([value for own in found["random"] for _, value in own], 0.97))
        for sampler, own in found.items():
            for n in SIZES:
                for has_start in (False, True):
                    gain, true, covered = calibration(own, n, start if has_start else -np.inf)
                    ratios.setdefault((sampler, n, has_start), []).append(gain / max(true, 1e-9))
                    print(f"{name} {sampler} {n} {has_start}: {gain:.4g} {true:.4g} {covered:.0%}")
        after = statistics.fmean(gain_after_the_end(table, trials) for trials in found["TPE"])
        print(f"{name}: after the end, ten more gain {after:.2f} of the spread", flush=True)
    for key, values in ratios.items():
        print(*key, f"{statistics.median(values):.2f}")


if __name__ == "__main__":
    main()
