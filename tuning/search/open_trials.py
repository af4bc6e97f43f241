"""The open trials of a coordinator, which are its trials that have not ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, Trial, TrialState

from tuning.outcomes import StopReason
from tuning.results import StudyDir
from tuning.search.asha import Rungs, is_worth_stopping
from tuning.spaces.ranges import Values
from tuning.study.trials import ENDED, attributes_of, epoch_values
from tuning.training.result import Answer, Epoch
from tuning.workers.dispatcher import Dispatcher

# Maximum total size of the checkpoints of all paused trials. An embedding of 30,000 words in 64
# dimensions takes 23 MB with Adam's state.
MAX_CHECKPOINT_BYTES = 2 * 2**30


@dataclass(eq=False)
class OpenTrial:
    """A trial that is being trained by a worker, is paused with a checkpoint on disk, or waits for
    another trial of the same configuration. `reported`: the steps that an earlier coordinator
    reported. `stop`: the reason why the training stops.
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
        if self.stop is None:
            return Answer.GO_ON
        is_over = self.stop in (StopReason.PRUNED, StopReason.FINISHED_ELSEWHERE)
        return Answer.STOP if is_over else Answer.PAUSE

    @property
    def is_baseline(self) -> bool:
        return bool(attributes_of(self.trial).get("baseline"))

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.storage_seconds += time.perf_counter() - started


class OpenTrials:
    """The open trials of a coordinator, with the values at the rungs and the configurations of all
    trials of the study. `TrialEnds` closes a trial.
    """

    def __init__(
        self, dispatcher: Dispatcher[OpenTrial], rungs: Rungs, folder: StudyDir, *, epochs: int
    ) -> None:
        self.dispatcher, self.rungs = dispatcher, rungs
        self._paused: dict[int, OpenTrial] = {}
        # The first trial with each configuration, by `key`: with the same seed, training the
        # configuration again gives the same result.
        self.configurations: dict[Hashable, int] = {}
        # Trial → number of the trial of the same configuration that it waits for.
        self._waiting: dict[OpenTrial, int] = {}
        self._folder, self._epochs = folder, epochs

    def __len__(self) -> int:
        return len(self.dispatcher.running) + len(self._paused) + len(self._waiting)

    @property
    def paused(self) -> list[OpenTrial]:
        """The trial that has been paused longest comes first."""
        return [*self._paused.values()]

    def pause(self, opened: OpenTrial) -> None:
        self._paused[opened.number] = opened

    def resume(self, opened: OpenTrial) -> None:
        del self._paused[opened.number]
        opened.stop = None

    @property
    def duplicates(self) -> list[OpenTrial]:
        return [*self._waiting]

    def read_trials(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Record the values at the rungs and the failures of all trials. Return the trials that
        take a slot of the study, whose configurations the caller records.
        """
        own = {opened.number for opened in self.dispatcher.running} | set(self._paused)
        taken = []
        for trial in trials:
            attributes = attributes_of(trial)
            if trial.number in own or "same_as" in attributes or "waits_for" in attributes:
                continue
            if trial.state == TrialState.FAIL:
                self._remove_values(trial.number)
                continue
            for epoch, value in epoch_values(trial).items():
                self.record(trial, epoch, value)
            if trial.state in (*ENDED, TrialState.RUNNING):
                taken.append(trial)
        return taken

    def record(self, trial: Trial | FrozenTrial, epoch: float, value: float) -> None:
        # The baseline goes on at any rank. At a rung that a single trial may pass, a good baseline
        # would stop all others, so it counts at the first rung alone.
        if not attributes_of(trial).get("baseline") or epoch in (0, *self.rungs.epochs[:1]):
            self.rungs.record(trial.number, epoch, value)

    @property
    def paused_baseline(self) -> OpenTrial | None:
        """The baseline, if Ctrl-C or a time limit has paused it: it goes on at any rank."""
        return next((opened for opened in self._paused.values() if opened.is_baseline), None)

    def promotable(self) -> OpenTrial | None:
        if self.paused_baseline:
            return self.paused_baseline
        waiting = {number: opened.n_epochs for number, opened in self._paused.items()}
        number = self.rungs.promotable(waiting)
        return None if number is None else self._paused[number]

    def beyond_promotion(self) -> list[OpenTrial]:
        return [
            opened
            for opened in self._paused.values()
            if not opened.is_baseline
            and self.rungs.is_beyond_promotion(opened.number, opened.n_epochs)
        ]

    def beyond_room(self) -> list[OpenTrial]:
        """Return the trials that have been paused longest, so many that the checkpoints of the
        other paused trials take at most `MAX_CHECKPOINT_BYTES`. The baseline stays.
        """
        sizes = dict.fromkeys(self._paused, 0)
        for number in sizes:
            with contextlib.suppress(FileNotFoundError):  # The user may delete a checkpoint.
                sizes[number] = self._folder.checkpoint_path(number).stat().st_size
        total, beyond = sum(sizes.values()), []
        for opened in self._paused.values():
            if total > MAX_CHECKPOINT_BYTES and not opened.is_baseline:
                total -= sizes[opened.number]
                beyond.append(opened)
        return beyond

    def stop_reason(self, opened: OpenTrial, epoch: float, *, prune: bool) -> StopReason | None:
        """`prune`: whether Optuna's pruner would stop the trial."""
        if not is_worth_stopping(epoch, epochs=self._epochs) or opened.is_baseline:
            return None
        if prune:
            return StopReason.PRUNED
        if self.rungs.goes_on(opened.number, epoch):
            return None
        is_beyond = self.rungs.is_beyond_promotion(opened.number, epoch)
        return StopReason.PRUNED if is_beyond else StopReason.PAUSED

    def wait_for(self, opened: OpenTrial, number: int) -> None:
        self._waiting[opened] = number

    def duplicates_of(self, number: int) -> list[OpenTrial]:
        return [opened for opened, awaited in self._waiting.items() if awaited == number]

    @property
    def awaited(self) -> list[int]:
        return [*dict.fromkeys(self._waiting.values())]

    def close(self, opened: OpenTrial, *, has_value: bool) -> None:
        """`has_value`: whether the study has a result of the trial."""
        self._paused.pop(opened.number, None)
        self._waiting.pop(opened, None)
        # Without a result, the trial stops no other trial at a rung, and a later trial with its
        # configuration is trained.
        if not has_value:
            self._remove_values(opened.number)

    def _remove_values(self, number: int) -> None:
        self.rungs.remove(number)
        self.configurations = {k: n for k, n in self.configurations.items() if n != number}
