"""The progress of a search, and its remaining seconds by a cost model of its trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from optuna.trial import FrozenTrial
from scipy.optimize import nnls

from tuning.search.open_trials import OpenTrials
from tuning.search.session import Session
from tuning.spaces.hyperparameters import from_params
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import Summary
from tuning.study.trials import attributes_of

# Minimum number of trials to fit the cost model to.
MIN_TIMED = 3
# Maximum number of trials to fit: the newest ones are enough, and a study may have thousands.
MAX_TIMED = 64
# Expected remaining epochs of a running trial that has reached the mean number of epochs.
MIN_EPOCHS_LEFT = 0.5


@dataclass(frozen=True)
class Progressed:
    """The state of a search after a change.

    Attributes:
        running: trial number → finished epochs.
        values: trial number → values of the metric after the finished epochs of a running trial,
            which `summary` may lack.
    """

    summary: Summary
    n_trials: int
    epochs: int
    running: dict[int, float]
    values: dict[int, list[float]]
    n_paused: int
    elapsed_seconds: float
    seconds_left: float | None
    event: str = ""


class ProgressReporter:
    """The reporter of a search, which calls `on_change` with the state and the time left."""

    def __init__(self, session: Session, on_change: Callable[[Progressed], None]) -> None:
        self._epochs, self._on_change = session.config.train.epochs, on_change
        self._started = time.monotonic()
        lengths = session.corpus.split("train").texts.lengths
        self._time_left = TimeLeft(session.space, epochs=self._epochs, lengths=lengths)

    def report(
        self,
        summary: Summary,
        trials: OpenTrials,
        *,
        n_trials: int,
        n_new: int,
        n_workers: int,
        deadline: float | None,
        event: str,
    ) -> None:
        """Report a change. `n_new` is the number of trials that have not started; `deadline` is the
        monotonic time at which the call ends.
        """
        now = time.monotonic()
        running = {opened.number: opened.n_epochs for opened in trials.dispatcher.running}
        left = self._time_left.seconds(summary.trials, running, n_new=n_new, n_workers=n_workers)
        if deadline is not None:
            until_deadline = max(deadline - now, 0.0)
            left = until_deadline if left is None else min(left, until_deadline)
        self._on_change(
            Progressed(
                summary=summary,
                n_trials=n_trials,
                epochs=self._epochs,
                running=running,
                values={
                    opened.number: [
                        epoch.metrics[summary.metric]
                        for epoch in opened.history
                        if epoch.number >= 1
                    ]
                    for opened in trials.dispatcher.running
                },
                n_paused=len(trials.paused),
                elapsed_seconds=now - self._started,
                seconds_left=left,
                event=event,
            )
        )


class TimeLeft:
    """The estimate of the remaining seconds of a search.

    An epoch takes a + b · tokens + c · tokens · units seconds, with a, b, c ≥ 0 fitted to the
    relative error over the newest trials. A new trial is expected to have the mean cost and the
    mean number of epochs of these trials.

    Args:
        epochs: maximum number of epochs of a trial.
        lengths: number of tokens of each training text.
    """

    def __init__(self, space: SearchSpace, *, epochs: int, lengths: npt.NDArray[np.int64]) -> None:
        self._space, self._epochs, self._lengths = space, epochs, lengths
        self._n_tokens: dict[int, float] = {}  # sequence length → tokens of an epoch
        self._features: dict[int, tuple[float, float, float]] = {}  # trial number → features

    def seconds(
        self,
        trials: Sequence[FrozenTrial],
        running: Mapping[int, float],
        *,
        n_new: int,
        n_workers: int,
    ) -> float | None:
        """Return the seconds until `n_new` new trials and the running trials are finished; None
        before `MIN_TIMED` trials have been timed.

        Args:
            running: trial number → finished epochs.
        """
        if not n_new and not running:
            return 0.0
        has_times = (
            trial
            for trial in reversed(trials)
            if attributes_of(trial).get("n_epochs") and attributes_of(trial).get("seconds")
        )
        timed = list(islice(has_times, MAX_TIMED))
        if len(timed) < MIN_TIMED:
            return None
        table = np.array([self._features_of(t) for t in timed])
        n_epochs = np.array([attributes_of(t)["n_epochs"] for t in timed], dtype=float)
        seconds = np.array([sum(attributes_of(t)["seconds"].values()) for t in timed]) / n_epochs
        weights, _ = nnls(table / seconds[:, None], np.ones(len(timed)))
        usual_epochs = min(float(n_epochs.mean()), self._epochs)
        total = n_new * usual_epochs * float((table @ weights).mean())
        # The newest running trials may not be among `trials` yet.
        for trial in (trials[number] for number in running if number < len(trials)):
            if trial.params:
                epoch_seconds = float(np.array(self._features_of(trial)) @ weights)
                total += max(usual_epochs - running[trial.number], MIN_EPOCHS_LEFT) * epoch_seconds
        return total / n_workers

    def _features_of(self, trial: FrozenTrial) -> tuple[float, float, float]:
        """Return (1, tokens of an epoch, tokens × units). Units are the sum of all numeric
        hyperparameters with "units" in their name.
        """
        if trial.number not in self._features:
            values = from_params(trial.params, self._space.hyperparameters)
            # A model that takes n-grams only reads all tokens.
            length = int(values.get("sequence_length", self._lengths.max(initial=1)))
            if length not in self._n_tokens:
                self._n_tokens[length] = float(np.minimum(self._lengths, length).sum())
            units = sum(
                float(value)
                for name, value in values.items()
                if "units" in name and isinstance(value, int | float)
            )
            self._features[trial.number] = (
                1.0,
                self._n_tokens[length],
                self._n_tokens[length] * units,
            )
        return self._features[trial.number]
