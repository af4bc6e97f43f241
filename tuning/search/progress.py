"""The remaining seconds of a search, by the times of its trials."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import islice

from optuna.trial import FrozenTrial

from tuning.study.trials import attributes_of, seconds_of

# Minimum number of timed trials for an estimate.
MIN_TIMED = 3
# Maximum number of timed trials: the newest ones are enough, and a study may have thousands.
MAX_TIMED = 64


def seconds_left(
    trials: Sequence[FrozenTrial], *, n_running: int, n_new: int, n_workers: int
) -> float | None:
    """Return None before `MIN_TIMED` trials have been timed. A new trial is expected to take as
    long as the mean of the newest `MAX_TIMED` trials, and a running trial half as long. The
    result is at least the time of one such trial.
    """
    if not n_new and not n_running:
        return 0.0
    trained = (trial for trial in reversed(trials) if attributes_of(trial).get("n_epochs"))
    times = filter(None, (sum(seconds_of(trial).values()) for trial in trained))
    timed = [*islice(times, MAX_TIMED)]
    if len(timed) < MIN_TIMED:
        return None
    shared = (n_new + n_running / 2) / n_workers
    return statistics.fmean(timed) * max(shared, 1 if n_new else 0.5)
