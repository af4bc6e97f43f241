"""The open trials of a coordinator: those that it has asked for and that have not ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from tuning.outcomes import StopReason
from tuning.results import StudyDir
from tuning.search.asha import Rungs, is_worth_stopping
from tuning.spaces.ranges import Values
from tuning.study.trials import ENDED, epoch_values
from tuning.training.result import Answer, Epoch
from tuning.workers.dispatcher import Dispatcher

TAKEN = (*ENDED, TrialState.RUNNING)  # the states of a trial that holds a slot of the study
# Maximum total size of the checkpoints of all paused trials, and of the trained models of a
# confirmation. 30,000 words of 64 numbers with Adam's
# state are 23 MB.
MAX_CHECKPOINT_BYTES = 2 * 2**30


@dataclass(eq=False)
class OpenTrial:
    """A trial that has not ended: a worker has it, or it is paused with a checkpoint on disk, or it
    waits for another trial of the same configuration.

    Args:
        history: the epochs that it has trained.
        reported: the steps that an earlier coordinator reported to the study.
        storage_seconds: time that the trial has cost in the study's storage.
        stop: why its training is to stop; None while it goes on.
    """

    trial: Trial
    values: Values
    history: list[Epoch] = field(default_factory=list)
    reported: frozenset[int] = frozenset()
    storage_seconds: float = 0.0
    stop: StopReason | None = None

    @property
    def number(self) -> int:
        return int(self.trial.number)

    @property
    def n_epochs(self) -> float:
        return self.history[-1].number if self.history else 0

    @property
    def answer(self) -> Answer:
        """What the worker is to do after an epoch."""
        if self.stop is None:
            return Answer.GO_ON
        is_over = self.stop in (StopReason.PRUNED, StopReason.FINISHED_ELSEWHERE)
        return Answer.STOP if is_over else Answer.PAUSE

    @property
    def is_baseline(self) -> bool:
        return bool(self.trial.user_attrs.get("baseline"))

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time of the block to `storage_seconds`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.storage_seconds += time.perf_counter() - started


def key(values: Mapping[str, Any]) -> Hashable:
    """Return a key that is equal for equal configurations only.

    Configurations with different values are different, even where the data set makes no difference:
    with a larger vocabulary an initializer may draw other weights for the same words, and a search
    space may use any value anywhere.
    """
    return tuple(sorted(values.items()))


@dataclass
class Configurations:
    """The configurations of a study, and the first trial with each of them. With the same seed,
    training a configuration again gives the same result.
    """

    trials: dict[Hashable, int] = field(default_factory=dict)

    def first(self, values: Mapping[str, Any]) -> int | None:
        """Return the first trial with this configuration."""
        return self.trials.get(key(values))

    def add(self, number: int, values: Mapping[str, Any]) -> None:
        """Keep the configuration of a trial."""
        self.trials.setdefault(key(values), number)

    def forget(self, number: int) -> None:
        """Remove a failed trial, whose result is not known."""
        self.trials = {known: trial for known, trial in self.trials.items() if trial != number}


class OpenTrials:
    """All that a coordinator keeps of its open trials. Every end of a trial goes through `close`.

    Args:
        dispatcher: has the trials that workers train.
        rungs: the values of all trials of the study at the rungs.
        epochs: maximum number of epochs of a trial.
    """

    def __init__(
        self, dispatcher: Dispatcher[OpenTrial], rungs: Rungs, folder: StudyDir, *, epochs: int
    ) -> None:
        self.dispatcher, self.rungs = dispatcher, rungs
        self.paused: dict[int, OpenTrial] = {}
        self.configurations = Configurations()
        self._duplicates: dict[int, list[OpenTrial]] = {}
        self._folder, self._epochs = folder, epochs

    def __len__(self) -> int:
        return len(self.dispatcher.running) + len(self.paused) + len(self.duplicates)

    @property
    def duplicates(self) -> list[OpenTrial]:
        """The trials that wait for the end of another trial of the same configuration."""
        return [trial for trials in self._duplicates.values() for trial in trials]

    def learn(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Take over what the study's trials gave, whichever coordinator trained them: the values
        at the rungs, and which trials failed.

        Returns:
            The trials that hold a slot of the study, whose configurations are now known.
        """
        own = {opened.number for opened in self.dispatcher.running} | set(self.paused)
        taken = []
        for trial in trials:
            attributes = trial.user_attrs
            if trial.number in own or "same_as" in attributes or "waits_for" in attributes:
                continue
            if trial.state == TrialState.FAIL:
                self._forget(trial.number)
                continue
            for epoch, value in epoch_values(trial).items():
                self.rungs.record(trial.number, epoch, value)
            if trial.state in TAKEN:
                taken.append(trial)
        return taken

    def promotable(self) -> OpenTrial | None:
        """Return the paused trial that goes on next, if one may."""
        waiting = {number: opened.n_epochs for number, opened in self.paused.items()}
        number = self.rungs.promotable(waiting)
        return None if number is None else self.paused[number]

    def beyond_promotion(self) -> list[OpenTrial]:
        """Return the paused trials that can't go on any more."""
        return [
            opened
            for opened in self.paused.values()
            if self.rungs.is_beyond_promotion(opened.number, opened.n_epochs)
        ]

    def beyond_room(self) -> list[OpenTrial]:
        """Return the trials that have been paused longest, until the checkpoints of the others
        take no more than `MAX_CHECKPOINT_BYTES`.
        """
        sizes = {
            number: self._folder.checkpoint_path(number).stat().st_size for number in self.paused
        }
        beyond = []
        while sum(sizes.values()) > MAX_CHECKPOINT_BYTES:
            oldest = next(iter(sizes))
            del sizes[oldest]
            beyond.append(self.paused[oldest])
        return beyond

    def stop_reason(self, opened: OpenTrial, epoch: float, *, prune: bool) -> StopReason | None:
        """Return why a trial stops after an epoch; None where it goes on.

        The baseline is neither pruned nor paused, and neither is a trial with little to go
        (`is_worth_stopping`). `prune`: whether Optuna's pruner would stop the trial.
        """
        if not is_worth_stopping(epoch, epochs=self._epochs) or opened.is_baseline:
            return None
        if prune:
            return StopReason.PRUNED
        if self.rungs.goes_on(opened.number, epoch):
            return None
        is_beyond = self.rungs.is_beyond_promotion(opened.number, epoch)
        return StopReason.PRUNED if is_beyond else StopReason.PAUSED

    def wait_for(self, opened: OpenTrial, number: int) -> None:
        """Keep a trial until the trial `number`, of the same configuration, has ended."""
        self._duplicates.setdefault(number, []).append(opened)

    def duplicates_of(self, number: int) -> list[OpenTrial]:
        """Return the trials that wait for the end of a trial."""
        return [*self._duplicates.get(number, ())]

    @property
    def awaited(self) -> list[int]:
        """The numbers of the trials that duplicates wait for."""
        return [*self._duplicates]

    def close(self, opened: OpenTrial, *, has_value: bool) -> None:
        """Forget a trial that has ended.

        `has_value`: whether the study has its result. Without one, its values at the rungs don't
        count, and its configuration may be trained again.
        """
        self.paused.pop(opened.number, None)
        for number, waiting in [*self._duplicates.items()]:
            if opened in waiting:
                waiting.remove(opened)
            if not waiting:
                del self._duplicates[number]
        if not has_value:
            self._forget(opened.number)
        self._folder.checkpoint_path(opened.number).unlink(missing_ok=True)

    def _forget(self, number: int) -> None:
        self.rungs.forget(number)
        self.configurations.forget(number)
