"""The remaining seconds of a search, by the times of its trials."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from itertools import islice

from optuna.trial import FrozenTrial

from tuning.study.trials import attributes_of
from tuning.training.result import Epoch

# Minimum number of timed trials for an estimate.
MIN_TIMED = 3
# Maximum number of timed trials: the newest ones are enough, and a study may have thousands.
MAX_TIMED = 64
# Expected remaining epochs of a running trial that has reached the mean number of epochs.
MIN_EPOCHS_LEFT = 0.5


def seconds_left(
    trials: Sequence[FrozenTrial], running: Iterable[Sequence[Epoch]], *, n_new: int, n_workers: int
) -> float | None:
    """Return None before `MIN_TIMED` trials have been timed. A new trial is expected to take as
    long as the mean of the newest `MAX_TIMED` trials. A running trial is expected to train for the
    mean number of epochs of these trials, each as long as its epochs so far.
    """
    epochs_of_running = list(running)
    if not n_new and not epochs_of_running:
        return 0.0
    has_times = (
        trial
        for trial in reversed(trials)
        if attributes_of(trial).get("n_epochs") and attributes_of(trial).get("seconds")
    )
    timed = [attributes_of(trial) for trial in islice(has_times, MAX_TIMED)]
    if len(timed) < MIN_TIMED:
        return None
    usual_seconds = statistics.fmean(sum(trial["seconds"].values()) for trial in timed)
    usual_epochs = statistics.fmean(trial["n_epochs"] for trial in timed)
    of_running = []
    for epochs in epochs_of_running:
        if epochs and epochs[-1].number:
            seconds_per_epoch = sum(epoch.seconds for epoch in epochs) / epochs[-1].number
            n_left = max(usual_epochs - epochs[-1].number, MIN_EPOCHS_LEFT)
            of_running.append(n_left * seconds_per_epoch)
        else:
            of_running.append(usual_seconds)
    total = n_new * usual_seconds + sum(of_running)
    return max(total / n_workers, *of_running, usual_seconds if n_new else 0.0)
