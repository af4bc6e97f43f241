"""The loop of a search: ask for a trial, train it, report its epochs, then go on, pause or stop.

`writer` writes to the study, `open_trials` has the trials that have not ended, and `ends` ends
them.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from optuna.exceptions import UpdateFinishedTrialError

from tuning.metrics import metric_text, sign
from tuning.outcomes import SearchEnd, StopReason
from tuning.search import linear_model
from tuning.search.asha import Rungs, rungs_of
from tuning.search.ends import TrialEnds
from tuning.search.events import Progressed
from tuning.search.open_trials import OpenTrial, OpenTrials
from tuning.search.progress import seconds_left
from tuning.search.proposals import Proposals
from tuning.search.recovery import start
from tuning.search.session import Session
from tuning.search.writer import StudyWriter, describe
from tuning.spaces.hyperparameters import key
from tuning.study.trials import starting_point_text
from tuning.training.result import Epoch
from tuning.workers.dispatcher import TICK_SECONDS, Dispatcher
from tuning.workers.messages import EpochEnded
from tuning.workers.pool import AnyWorker

# Time after Ctrl-C in which running epochs may end, so that their trials are paused.
# docs/commands.md promises that the search ends within 10 s.
STOP_SECONDS = 6.0


class Search:
    """One call of `tune`: from its first `ask` to its last `tell`."""

    def __init__(self, session: Session) -> None:
        self._session, self._config, self._space = session, session.config, session.space
        self._writer = StudyWriter(session)
        self._proposals = Proposals(self._writer)
        self._dispatcher: Dispatcher[OpenTrial] = Dispatcher(session.pool, session.limits)
        n_steps, parts = self._config.train.n_steps, self._config.train.parts_per_epoch
        rung_epochs = rungs_of(n_steps, parts=parts) if self._config.pruner == "asha" else ()
        rungs = Rungs(rung_epochs, sign(self._config.metric), n_trials=0)
        self._open = OpenTrials(self._dispatcher, rungs, session.folder, epochs=n_steps)
        self.n_trials = 0
        self._deadline: float | None = None
        self._started = time.monotonic()
        self._step = self._config.train.step
        self._ends = TrialEnds(session, self._writer, self._open, self._notify)

    def run(self, n_trials: int, *, timeout_seconds: float | None) -> SearchEnd:
        """Search until the study has `n_trials` finished trials or the time is up, and return why
        the search ended.
        """
        self.n_trials = self._open.rungs.n_trials = n_trials
        if timeout_seconds is not None:
            self._deadline = time.monotonic() + timeout_seconds
        try:
            paused = start(self._writer, n_trials=self.n_trials)
            self._read_trials()
            for opened in paused:
                self._open.pause(opened)
            linear_model.follow(self._session, has_epoch=False)
            if linear_model.is_pending(self._session):
                self._notify("starting points wait for the linear model, which is being trained")
            while not self._session.interrupt.requested:
                has_epoch = any(opened.n_epochs for opened in self._dispatcher.running)
                linear_model.follow(self._session, has_epoch=has_epoch)
                has_asked = self._dispatch()
                ended = None if has_asked or self._session.interrupt.requested else self._ended()
                if ended:
                    return ended
                self._notify()
                self._receive(0.0 if has_asked else TICK_SECONDS)
            deadline = time.monotonic() + STOP_SECONDS
            while self._dispatcher.running and time.monotonic() < deadline:
                self._receive(TICK_SECONDS)
        finally:
            self._ends.suspend()
        return SearchEnd.INTERRUPTED

    def _read_trials(self) -> None:
        for trial in self._open.read_trials(self._writer.summary.trials):
            values = self._writer.values_of(trial)
            if values is not None:
                self._open.configurations.setdefault(key(values), trial.number)

    def _ended(self) -> SearchEnd | None:
        """Return why the search has ended; None while a trial is running or can start.

        The trials that wait at a rung are pruned at the end, unless the time is up.
        """
        is_finished = self._writer.summary.n_finished >= self.n_trials
        # Workers that are still starting are awaited only if a trial may need them.
        has_workers = is_finished or self._time_is_up() or self._dispatcher.has_ready_worker
        if self._dispatcher.running or not has_workers:
            return None
        if self._time_is_up() and (not is_finished or self._open.paused_baseline):
            return SearchEnd.TIMEOUT
        self._writer.refresh()
        is_wanted = self._n_wanted() > 0 and not self._proposals.is_exhausted
        if is_wanted or (self._open.promotable() and not self._time_is_up()):
            return None
        self._ends.prune_paused("with all trials at its rung")
        if self._writer.summary.n_finished >= self.n_trials:
            return SearchEnd.FINISHED
        return SearchEnd.EXHAUSTED if self._proposals.is_exhausted else None

    def _time_is_up(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _n_wanted(self) -> int:
        return self.n_trials - self._writer.summary.n_finished - len(self._open)

    def _dispatch(self) -> bool:
        """Give free workers the paused trials that may go on, then give one worker a new trial.
        Return whether to call this function again without waiting.

        A call asks for one new trial only, because other workers may send messages while the
        sampler draws.
        """
        for worker in self._dispatcher.free():
            if self._time_is_up():
                return False
            running, opened = self._dispatcher.running, self._open.promotable()
            if opened and running and self._proposals.has_suspect([opened, *running]):
                return False  # A configuration on its last try trains alone.
            if opened:
                self._resume(worker, opened)
            elif (
                self._n_wanted() > 0
                and not self._proposals.is_exhausted
                and not self._session.interrupt.requested
            ):
                return self._ask(worker)
        return False

    def _resume(self, worker: AnyWorker, opened: OpenTrial) -> None:
        if not self._session.folder.checkpoint_path(opened.number).exists():
            self._ends.fail_without_checkpoint(opened)
            return
        self._open.resume(opened)
        if not self._ends.write(opened, partial(self._writer.mark, opened, paused=False)):
            return
        self._train(worker, opened, resume=True)
        self._notify(f"trial {opened.number} goes on after {self._step} {opened.n_epochs:g}")

    def _ask(self, worker: AnyWorker) -> bool:
        """Ask for a trial and start its training; return whether another trial may be asked for.

        A trial with the configuration of another trial is not trained, and ends with its result.
        """
        try:
            opened = self._proposals.ask(n_trials=self.n_trials)
        except UpdateFinishedTrialError:
            self._writer.refresh()
            return True
        if opened is None:
            self._writer.refresh()
            return False
        first = self._open.configurations.get(key(opened.values))
        if first in (None, opened.number):
            self._open.configurations.setdefault(key(opened.values), opened.number)
            self._train(worker, opened, resume=False)
            values = describe(opened.values, self._space)
            role = starting_point_text(self._writer.summary.trials[opened.number])
            self._notify(f"trial {opened.number} starts{f' ({role})' if role else ''}: {values}")
            return True
        self._open.wait_for(opened, first)
        self._ends.write(opened, partial(self._writer.wait_for, opened, first))
        self._ends.settle_duplicates(first)
        return True

    def _train(self, worker: AnyWorker, opened: OpenTrial, *, resume: bool) -> None:
        request = self._session.train_request(opened.values)
        checkpoint = self._session.folder.checkpoint_path(opened.number)
        job = replace(
            request.job,
            # The baseline has no limits, because the other trials are compared with it.
            limits={} if opened.is_baseline else self._config.limits,
            measure_latency=self._config.measures_latency,
            checkpoint=str(checkpoint.absolute()),
            resume=resume,
        )
        self._dispatcher.start(worker, opened, replace(request, job=job))

    def _receive(self, seconds: float) -> None:
        for opened, message in self._dispatcher.events(seconds):
            if isinstance(message, EpochEnded):
                self._report(opened, message.epoch)
            else:
                self._ends.handle(opened, message)

    def _report(self, opened: OpenTrial, epoch: Epoch) -> None:
        value = epoch.metrics[self._config.metric]
        optuna_prunes = self._config.pruner not in ("asha", "none")
        prune = optuna_prunes and self._write_epoch(opened, epoch)
        if opened.stop is not StopReason.FINISHED_ELSEWHERE:
            self._open.record(opened.trial, epoch.number, value)
            opened.stop = self._stop_reason(opened, epoch.number, prune=prune)
        self._dispatcher.reply(opened, opened.answer)
        if not optuna_prunes:  # The worker trains while the epoch is written.
            self._write_epoch(opened, epoch)
        self._notify(
            f"trial {opened.number} {self._step} {epoch.number:g}: {self._config.metric}"
            f" {metric_text(value)}"
        )
        self._ends.prune_beyond_promotion()

    def _write_epoch(self, opened: OpenTrial, epoch: Epoch) -> bool:
        if opened.stop is not StopReason.FINISHED_ELSEWHERE:
            try:
                return self._writer.report(opened, epoch)
            except UpdateFinishedTrialError:
                self._ends.finished_elsewhere(opened)
        return False

    def _stop_reason(self, opened: OpenTrial, epoch: float, *, prune: bool) -> StopReason | None:
        is_last = epoch >= self._config.train.n_steps
        if self._session.interrupt.requested and not is_last:
            return StopReason.INTERRUPTED
        if self._time_is_up() and not is_last:
            return StopReason.TIMEOUT
        return self._open.stop_reason(opened, epoch, prune=prune)

    def _notify(self, event: str = "") -> None:
        now = time.monotonic()
        left = seconds_left(
            self._writer.summary.trials,
            n_running=len(self._dispatcher.running),
            n_new=0 if self._proposals.is_exhausted else max(self._n_wanted(), 0),
            n_workers=len(self._session.pool.workers),
        )
        if self._deadline is not None:
            until_deadline = max(self._deadline - now, 0.0)
            left = until_deadline if left is None else min(left, until_deadline)
        self._session.notify(
            Progressed(
                summary=self._writer.summary,
                n_trials=self.n_trials,
                elapsed_seconds=now - self._started,
                seconds_left=left,
                event=event,
            )
        )
