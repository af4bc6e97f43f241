"""What is left of a search, in seconds, from a cost model that is fitted to its trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import islice

import numpy as np
import numpy.typing as npt
from optuna.trial import FrozenTrial
from scipy.optimize import nnls

from tuning.hyperparameters import Values, from_params
from tuning.spaces import SearchSpace

MIN_TIMED = 3  # trials to fit: fewer say nothing of the next one
MAX_TIMED = 64  # the newest are enough, and a study may have thousands
LEAST_EPOCHS = 0.5  # expected of a trial at work that has already trained as long as the others


def seconds_left(
    trials: Sequence[FrozenTrial],
    running: Mapping[int, int],
    *,
    n_new: int,
    epochs: int,
    n_workers: int,
    space: SearchSpace,
    n_tokens: Callable[[int], float],
) -> float | None:
    """Seconds until `n_new` more trials and those of `running` (number → finished epochs) are finished; None before three are timed.

    An epoch costs a + b · tokens + c · tokens · units, with a, b, c ≥ 0 fitted to the relative error over the newest trials; `n_tokens`
    gives the tokens of an epoch for a sequence length (`tokens_of_epoch`). A new trial is expected to cost and to last what those did
    on average.
    """
    if not n_new and not running:
        return 0.0
    timed = list(islice((t for t in reversed(trials) if t.user_attrs.get("n_epochs") and t.user_attrs.get("seconds")), MAX_TIMED))
    if len(timed) < MIN_TIMED:
        return None
    table = np.array([_features(from_params(t.params, space.hyperparameters), n_tokens) for t in timed])
    n_epochs = np.array([t.user_attrs["n_epochs"] for t in timed], dtype=float)
    seconds = np.array([sum(t.user_attrs["seconds"].values()) for t in timed]) / n_epochs
    weights, _ = nnls(table / seconds[:, None], np.ones(len(timed)))
    usual_epochs = min(float(n_epochs.mean()), epochs)
    total = n_new * usual_epochs * float((table @ weights).mean())
    for trial in (trials[number] for number in running if number < len(trials)):  # the newest may not be among them yet
        if trial.params:
            epoch_seconds = float(np.array(_features(from_params(trial.params, space.hyperparameters), n_tokens)) @ weights)
            total += max(usual_epochs - running[trial.number], LEAST_EPOCHS) * epoch_seconds
    return total / n_workers


def tokens_of_epoch(lengths: npt.NDArray[np.int64]) -> Callable[[int], float]:
    """The tokens of an epoch by sequence length, each counted once; `lengths` are those of the training texts in tokens."""

    @cache
    def n_tokens(sequence_length: int) -> float:
        return float(np.minimum(lengths, sequence_length).sum())

    return n_tokens


def _features(values: Values, n_tokens: Callable[[int], float]) -> tuple[float, float, float]:
    """1, tokens of an epoch and tokens × units, of a configuration; units are the sum of all hyperparameters that are named so."""
    tokens = n_tokens(int(values["sequence_length"]))
    units = sum(float(value) for name, value in values.items() if "units" in name and isinstance(value, int | float))
    return 1.0, tokens, tokens * units
