"""The ends of a trial. Each end is written to the study, removes the trial's checkpoint, and ends
the trials that wait for its result.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from tuning.config import exceeded
from tuning.errors import SpaceBug, SpaceError
from tuning.metrics import metric_text
from tuning.outcomes import FailureReason, StopReason
from tuning.search.open_trials import OpenTrial, OpenTrials
from tuning.search.session import Session
from tuning.search.writer import StudyWriter, describe
from tuning.spaces.sizes import advice_on_length
from tuning.study.trials import attributes_of
from tuning.training.result import FitResult
from tuning.workers.messages import Ending, ErrorRaised, ModelRefused, TrainingEnded, TrainingFailed

logger = logging.getLogger(__name__)

# Failed trials do not count for `n_trials`. Without this limit, a search whose trials all fail
# would not end.
MAX_FAILURES_IN_A_ROW = 10
# Reason and detail of the failure of a trial that was to be paused and has no checkpoint.
NOT_PAUSED = {
    StopReason.TIMEOUT: (FailureReason.TIMEOUT, "the time of this call was up"),
    StopReason.INTERRUPTED: (FailureReason.INTERRUPTED, "the search was stopped"),
}


class TrialEnds:
    """The ends of a coordinator's open trials. `notify` gets a sentence after each end."""

    def __init__(
        self,
        session: Session,
        writer: StudyWriter,
        trials: OpenTrials,
        notify: Callable[[str], None],
    ) -> None:
        self._session, self._writer, self._open, self._notify = session, writer, trials, notify
        self._step = session.config.train.step
        self._failures_in_a_row = 0

    def handle(self, opened: OpenTrial, message: Ending) -> None:
        if opened.stop is StopReason.FINISHED_ELSEWHERE:
            self._remove(opened, has_value=False)
        elif isinstance(message, TrainingEnded):
            self._finish(opened, message.result)
        elif isinstance(message, ModelRefused):
            self._refuse(opened, message.result)
        elif isinstance(message, TrainingFailed):
            self.fail(opened, message.reason, message.detail)
            self._check_failures(opened, message.reason)
        else:
            self._stop_for(opened, message)

    def _close(
        self, opened: OpenTrial, write: Callable[[], None], *, event: str, has_value: bool = True
    ) -> None:
        # The checkpoint is removed after the end has been written. If the coordinator is killed in
        # between, `clean` removes the checkpoint; in the other order, the trial's epochs are lost.
        if not self.write(opened, write):
            return
        self._remove(opened, has_value=has_value)
        if event:
            self._notify(event)
        self.settle_duplicates(opened.number)

    def _remove(self, opened: OpenTrial, *, has_value: bool) -> None:
        self._open.close(opened, has_value=has_value)
        self._writer.remove_checkpoint(opened.number)

    def write(self, opened: OpenTrial, write: Callable[[], None]) -> bool:
        """Return False and end the trial here if another program has finished the trial."""
        try:
            write()
        except UpdateFinishedTrialError:
            self.finished_elsewhere(opened)
            return False
        return True

    def finished_elsewhere(self, opened: OpenTrial) -> None:
        """End a trial that another program has finished: the Dashboard, or a coordinator for which
        this coordinator counted as dead.
        """
        opened.stop = StopReason.FINISHED_ELSEWHERE
        self._remove(opened, has_value=False)
        self._notify(
            f"trial {opened.number} has been finished by another program; its result here is left"
            " out"
        )
        self._writer.refresh()
        self.settle_duplicates(opened.number)

    def settle_duplicates(self, number: int) -> None:
        first = self._writer.summary.trials[number]
        if not first.state.is_finished():
            return
        for duplicate in self._open.duplicates_of(number):
            if first.state == TrialState.FAIL:
                reason = FailureReason(attributes_of(first).get("reason", FailureReason.LOST))
                detail = f"it is the same as trial {number}"
                write = partial(self._writer.fail, duplicate, reason, detail, queue_again=False)
                self._close(duplicate, write, event="", has_value=False)
                continue
            event = (
                f"trial {duplicate.number} is the same as trial {number} on these data: not"
                " trained again"
            )
            write = partial(self._writer.copy, duplicate, first)
            self._failures_in_a_row = 0
            self._close(duplicate, write, event=event)

    def _finish(self, opened: OpenTrial, result: FitResult) -> None:
        is_stopped = result.stopped and not result.paused
        if is_stopped and opened.stop in NOT_PAUSED:
            reason, detail = NOT_PAUSED[opened.stop]
            self.fail(opened, reason, f"{detail}; its values are queued again")
            return
        self._failures_in_a_row = 0
        if result.paused:
            self._pause(opened, result)
        # If `stopped` is False, the patience ended the training in the same epoch.
        elif opened.stop and result.stopped:
            event = f"trial {opened.number} pruned after {self._step} {opened.n_epochs:g}"
            self._close(opened, partial(self._writer.prune, opened, result), event=event)
        else:
            value = f"{self._session.config.metric} {metric_text(result.best_value)}"
            epoch = f" in epoch {result.best_epoch:g}" if result.best_epoch else " as fitted"
            mean = f", the mean of {len(result.folds)} folds"
            event = f"trial {opened.number} complete: {value}{mean if result.folds else epoch}"
            self._close(opened, partial(self._writer.complete, opened, result), event=event)

    def _pause(self, opened: OpenTrial, result: FitResult) -> None:
        if not self.write(opened, partial(self._writer.pause, opened, result)):
            return
        self._open.pause(opened)
        self._notify(f"trial {opened.number} pauses after {self._step} {opened.n_epochs:g}")
        if opened.stop is StopReason.PAUSED:  # A trial that is paused at the end of a call goes on.
            for oldest in self._open.beyond_room():
                self.prune(oldest, "its checkpoint made room for others")

    def prune(self, opened: OpenTrial, why: str) -> None:
        event = f"trial {opened.number} pruned after {self._step} {opened.n_epochs:g}, {why}"
        self._close(opened, partial(self._writer.prune, opened), event=event)

    def prune_paused(self, why: str) -> None:
        for opened in self._open.paused:
            if not opened.is_baseline:  # All other trials are compared with the baseline.
                self.prune(opened, why)

    def prune_beyond_promotion(self) -> None:
        for opened in self._open.beyond_promotion():
            self.prune(opened, "behind too many at its rung")

    def _refuse(self, opened: OpenTrial, result: FitResult) -> None:
        self._failures_in_a_row = 0
        sizes = vars(result)
        beyond = [
            f"{name} {sizes[name]:,.12g}, {maximum:,.12g} allowed"
            for name, maximum in exceeded(self._session.config.limits, sizes).items()
        ]
        event = f"trial {opened.number} not trained: {', '.join(beyond)}"
        self._close(opened, partial(self._writer.prune, opened, result), event=event)

    def fail(
        self, opened: OpenTrial, reason: FailureReason, detail: str, *, queue_again: bool = True
    ) -> None:
        event = f"trial {opened.number} failed: {reason}"
        write = partial(self._writer.fail, opened, reason, detail, queue_again=queue_again)
        self._close(opened, write, event=event, has_value=False)

    def fail_without_checkpoint(self, opened: OpenTrial) -> None:
        detail = "its checkpoint was deleted"
        logger.warning("trial %d can't go on: %s", opened.number, detail)
        self.fail(opened, FailureReason.LOST, detail)

    def suspend(self) -> None:
        """Pause each running trial at its checkpoint, or queue it again; queue duplicates again."""
        # The last callback of a stack is called first. After a write that fails, the others follow.
        with contextlib.ExitStack() as stack:
            stack.callback(self._fail_duplicates)
            for opened in reversed(list(self._open.dispatcher.running)):
                stack.callback(self._suspend_running, opened)

    def _fail_duplicates(self) -> None:
        for duplicate in self._open.duplicates:
            self.fail(duplicate, *NOT_PAUSED[StopReason.INTERRUPTED])

    def _suspend_running(self, opened: OpenTrial) -> None:
        self._open.dispatcher.release(opened)
        if self._writer.folder.checkpoint_path(opened.number).exists():
            self.write(opened, partial(self._writer.mark, opened, paused=True))
        else:
            self.fail(opened, *NOT_PAUSED[StopReason.INTERRUPTED])

    def _check_failures(self, opened: OpenTrial, reason: FailureReason) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            path = self._session.folder.error_path(opened.number)
            raise SpaceError(
                f"A search must finish some of its trials; {MAX_FAILURES_IN_A_ROW} failed one after"
                f" the other, the last for {reason.value!r}. See {path}, and narrow the search"
                " space."
            )

    def _stop_for(self, opened: OpenTrial, error: ErrorRaised) -> None:
        keep_going = self._session.keep_going
        detail = f"{error.message}\n\n{error.traceback}"
        self.fail(opened, FailureReason.BUG, detail, queue_again=not keep_going)
        if keep_going:
            self._check_failures(opened, FailureReason.BUG)
            return
        values = describe(opened.values, self._session.space)
        path = self._session.folder.error_path(opened.number)
        where = f" The traceback is in {path}." if error.traceback else ""
        raise SpaceBug(
            f"Trial {opened.number} ({values}) stopped the study: {error.message}{where} Correct"
            " the space, then search again (keep_going continues without such trials)."
            f"{advice_on_length(self._session.space.notes, error.message)}",
            traceback=error.traceback,
        )
