"""Ask → dispatch → report, then go on, pause or stop: the loop of a search. What happens is written
by `writer`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from tuning.config import StudyConfig, exceeded, sign
from tuning.data.corpus import Corpus
from tuning.errors import SpaceBug, StudyError
from tuning.results import ResultsDir
from tuning.search.asha import MIN_EPOCHS_SAVED, Ladder, rungs_of
from tuning.search.duplicates import Configurations
from tuning.search.time_left import TimeLeft
from tuning.search.writer import TAKEN, OpenTrial, Record, describe
from tuning.spaces.loading import SearchSpace
from tuning.study.coordinators import Coordinators, is_at_work
from tuning.study.summary import Summary
from tuning.study.trials import values_of
from tuning.workers.limits import TrialLimits, Watch
from tuning.workers.pool import AnyPool, AnyWorker
from tuning.workers.worker import Message, training_message

logger = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 10
TICK_SECONDS = 0.5
STOP_SECONDS = 6.0  # that running epochs have to end in, after Ctrl-C
STOPPED = {
    "timeout": "the time of this call was up",
    "interrupted": "the search was stopped",
}  # at the end of an epoch
TOLD = "told"  # why a worker stops whose trial another program has ended
MAX_CHECKPOINT_BYTES = (
    2 * 2**30
)  # of all paused trials; 30,000 words of 64 numbers with Adam's state are 23 MB


@dataclass(frozen=True)
class Progressed:
    """A search as it stands, for a progress display. `running` maps a trial's number to its
    finished epochs.
    """

    summary: Summary
    n_trials: int
    epochs: int
    running: dict[int, int]
    n_paused: int
    elapsed_seconds: float
    seconds_left: float | None
    event: str = ""


@dataclass
class _Running:
    opened: OpenTrial
    # why it was told to stop: "pruned", "paused", "timeout", "interrupted", "told" or nothing
    stop: str = ""


@dataclass
class Interrupt:
    """Whether the user has asked the search to end; a signal handler sets it."""

    requested: bool = False


class Search:
    """One call of `tune`: from its first `ask` to its last `tell`."""

    def __init__(
        self,
        study: optuna.Study,
        pool: AnyPool,
        config: StudyConfig,
        space: SearchSpace,
        space_path: Path,
        corpus: Corpus,
        results: ResultsDir,
        interrupt: Interrupt,
        on_change: Callable[[Progressed], None],
        *,
        limits: TrialLimits | None = None,
        keep_going: bool = False,
        coordinators: Coordinators | None = None,
    ) -> None:
        self._coordinators = coordinators or Coordinators(study, n_workers=len(pool.workers))
        self._record = Record(
            study, config, space, results, corpus.card.class_names, self._coordinators
        )
        self._pool, self._config, self._space, self._folder = (
            pool,
            config,
            space,
            results.study(config.study),
        )
        self._interrupt, self._on_change = interrupt, on_change
        self._watch, self._keep_going = Watch(limits or TrialLimits()), keep_going
        self.n_trials = 0
        self._timeout: float | None = None
        self._running: dict[AnyWorker, _Running] = {}
        self._paused: dict[int, OpenTrial] = {}
        self._twins: dict[
            int, list[OpenTrial]
        ] = {}  # trials of the configuration of one at work or paused, which wait for its end
        self._configurations = Configurations()
        self._ladder = Ladder((), 1, 0)
        self._started = time.monotonic()
        self._failures_in_a_row = 0
        self._turn = 0  # the place of the worker that gets the next new trial, if it is free
        self._time_left = TimeLeft(
            space, epochs=config.train.epochs, lengths=corpus.split("train").texts.lengths
        )
        known = [item.name for item in space.hyperparameters]
        job = training_message(config, space_path=space_path, corpus=corpus, known=known)
        self._job = {**job, "seed": config.seed, "measure_latency": config.measures_latency}

    def run(self, *, n_trials: int, timeout_seconds: float | None) -> str:
        """Search until `n_trials` trials are finished in all or the time is up; returns why it
        ended.
        """
        self.n_trials, self._timeout = n_trials, timeout_seconds
        rungs = rungs_of(self._config.train.epochs) if self._config.pruner == "asha" else ()
        self._ladder = Ladder(rungs, sign(self._config.metric), n_trials)
        self._coordinators.listen()
        try:
            paused = self._record.start()
            self._learn()
            self._paused = {opened.number: opened for opened in paused}
            while not self._interrupt.requested:
                self._look_around()
                has_asked = self._dispatch()
                ended = self._end() if not self._running and self._has_nothing_to_wait_for() else ""
                if ended:
                    return ended
                self._notify()
                self._listen(0.0 if has_asked else TICK_SECONDS)
            self._let_epochs_end()
        finally:
            try:
                self._put_away()
            finally:
                self._coordinators.leave()
        return "interrupted"

    def _put_away(self) -> None:
        """Pause what is at work, or queue it again."""
        for worker in list(self._running):
            self._interrupt_trial(worker)
        for twin in [twin for twins in self._twins.values() for twin in twins]:
            with self._unless_told(twin):
                self._record.fail(twin, "interrupted", "the search was stopped")

    def _listen(self, seconds: float = TICK_SECONDS) -> None:
        """Handle what workers say within the time, and replace those that are over a limit."""
        for worker, message in self._pool.wait(seconds):
            self._watch.heard(worker)
            self._handle(worker, message)
        for worker, reason, detail in self._watch.look():
            running = self._running[worker]
            self._pool.replace(worker)
            self._fail(worker, reason, f"{detail}, and was replaced")
            self._check_failures(running, reason)

    def _let_epochs_end(self) -> None:
        """The user wants to stop: a trial whose epoch ends soon is paused there, and goes on from
        its checkpoint.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while self._running and time.monotonic() < deadline:
            self._listen()

    def _look_around(self) -> None:
        """Hear the other coordinators of the study, learn from their trials, and take over those of
        one that is gone.
        """
        if not self._coordinators.listen() or not self._coordinators.are_several:
            return
        self._record.refresh()
        self._record.take_over(paused=False)
        self.n_trials = self._ladder.n_trials = self._record.asked_for() or self.n_trials
        trials = self._record.summary.trials
        for number in [
            number for number in self._paused if trials[number].state.is_finished()
        ]:  # taken over while this one was away
            self._forget(self._paused.pop(number))
        self._learn()
        for number in list(self._twins):
            self._settle_twins(number)
        self._give_up_the_hopeless()

    def _learn(self) -> None:
        """Learn from the study's trials, whoever trained them: their values at the rungs, and their
        configurations.
        """
        own = {running.opened.number for running in self._running.values()} | set(self._paused)
        for trial in self._record.summary.trials:
            if (
                "same_as" in trial.user_attrs
                or trial.number in own
                or "waits_for" in trial.user_attrs
            ):
                continue
            if trial.state == TrialState.FAIL:
                self._ladder.forget(trial.number)
                self._configurations.forget(trial.number)
                continue
            for epoch, value in trial.intermediate_values.items():
                self._ladder.record(trial.number, epoch, value)
            if trial.state in TAKEN and self._record.has_all(trial):
                self._configurations.add(trial.number, values_of(trial, self._space))

    def _end(self) -> str:
        """Why nothing runs and nothing can start; nothing where another coordinator is at work, or
        has left something to do.

        Trials that still wait at a rung have lost then, unless time has run out.
        """
        if self._time_is_up() and self._record.summary.n_finished < self.n_trials:
            return "timeout"
        if self._coordinators.are_several:
            self._coordinators.hear()
        self._record.refresh()
        others = self._running_elsewhere()
        if any(is_at_work(t) and not self._coordinators.is_gone(t) for t in others):
            return ""
        for opened in list(self._paused.values()):
            self._give_up(opened, "with all trials at its rung")
        if self._record.summary.n_finished >= self.n_trials:
            return "finished"
        if self._record.take_over(paused=True) or others:  # they give up theirs too
            return ""
        return "exhausted" if self._record.is_exhausted else ""

    def _has_nothing_to_wait_for(self) -> bool:
        """Whether no worker that has yet to start would be given a trial."""
        is_finished = self._record.summary.n_finished >= self.n_trials
        return (
            is_finished
            or self._time_is_up()
            or any(worker.is_ready for worker in self._pool.workers)
        )

    def _time_is_up(self) -> bool:
        return self._timeout is not None and time.monotonic() - self._started >= self._timeout

    def _dispatch(self) -> bool:
        """Give every free worker a paused trial that may go on, or one of them a new one; returns
        whether there may be more to give.

        TPE takes its time for a new trial, in which other workers may have ended an epoch. Workers
        have their turns.
        """
        workers = self._pool.workers
        for turn in range(self._turn, self._turn + len(workers)):
            worker = workers[turn % len(workers)]
            if not worker.is_ready or worker in self._running or self._time_is_up():
                continue
            number = self._ladder.promotable(
                {number: opened.n_epochs for number, opened in self._paused.items()}
            )
            if number is not None:
                opened = self._paused.pop(number)
                with self._unless_told(opened):
                    self._record.mark(opened, paused=False)
                    self._train(
                        worker,
                        opened,
                        f"trial {number} goes on after epoch {opened.n_epochs}",
                        resume=True,
                    )
            elif (
                self._n_wanted() > 0
                and not self._record.is_exhausted
                and not self._interrupt.requested
            ):
                self._turn = (turn + 1) % len(workers)
                return self._ask(worker)
        return False

    def _n_wanted(self) -> int:
        """How many trials are still to be asked for, as far as is known."""
        own = len(self._running) + len(self._paused) + sum(map(len, self._twins.values()))
        return (
            self.n_trials - self._record.summary.n_finished - own - len(self._running_elsewhere())
        )

    def _running_elsewhere(self) -> list[FrozenTrial]:
        """The trials that other coordinators have at work or paused, as far as is known."""
        trials = self._record.summary.trials if self._coordinators.are_several else ()
        return [
            t for t in trials if t.state == TrialState.RUNNING and not self._coordinators.is_own(t)
        ]

    def _ask(self, worker: AnyWorker) -> bool:
        """Ask for a trial and have it trained; returns whether there was one.

        One whose configuration another trial has had gets that one's result instead, now or when it
        is there.
        """
        try:
            asked = self._record.ask(n_trials=self.n_trials)
        except (
            UpdateFinishedTrialError
        ):  # it took so long to draw that this coordinator was taken for dead
            self._record.refresh()
            return True
        if asked is None:  # another coordinator has taken the last one
            self._record.refresh()
            return False
        first = self._configurations.first(asked.values)
        if first is None:
            self._configurations.add(asked.number, asked.values)
            self._train(
                worker,
                asked,
                f"trial {asked.number} starts: {describe(asked.values, self._space)}",
                resume=False,
            )
            return True
        with self._unless_told(asked):
            self._record.wait_for(asked, first)
            self._twins.setdefault(first, []).append(asked)
            self._settle_twins(first)
        return True

    def _settle_twins(self, number: int) -> None:
        """If a trial has ended, tell those of the same configuration what it gave."""
        first = next(
            (t for t in self._record.summary.trials[number : number + 1] if t.state.is_finished()),
            None,
        )
        if first is None:
            return
        for twin in self._twins.pop(number, []):
            with self._unless_told(twin):
                if first.state == TrialState.FAIL:
                    self._fail_twin(twin, first)
                else:
                    self._record.copy(twin, first)
                    self._notify(
                        f"trial {twin.number} is the same as trial {number} on these data: not"
                        " trained again"
                    )

    def _fail_twin(self, twin: OpenTrial, first: FrozenTrial) -> None:
        reason = first.user_attrs.get("reason", "lost")
        self._record.fail(
            twin, reason, f"it is the same as trial {first.number}", queue_again=False
        )

    def _train(self, worker: AnyWorker, opened: OpenTrial, event: str, *, resume: bool) -> None:
        self._running[worker] = _Running(opened)
        self._watch.begin(worker)
        checkpoint = str(self._folder.checkpoint_path(opened.number).absolute())
        limits = (
            {} if opened.is_baseline else self._config.limits
        )  # the baseline is what the others are compared with
        worker.send(
            {
                **self._job,
                "values": opened.values,
                "limits": limits,
                "checkpoint": checkpoint,
                "resume": resume,
            }
        )
        self._notify(event)

    def _handle(self, worker: AnyWorker, message: Message | None) -> None:
        running = self._running.get(worker)
        if message is None:
            replaced = self._pool.replace(worker)
            if running:
                self._fail(
                    worker,
                    "lost",
                    f"its worker {worker.ending} and was replaced by {replaced.place}",
                )
                self._check_failures(running, "lost")
        elif running is None:
            return
        elif message["kind"] == "epoch":
            self._report(worker, running, message)
        elif running.stop == TOLD:
            self._folder.checkpoint_path(self._leave(worker).number).unlink(missing_ok=True)
        else:
            with self._unless_told(running.opened):
                self._handle_end(worker, running, message)

    def _handle_end(self, worker: AnyWorker, running: _Running, message: Message) -> None:
        kind = message["kind"]
        if kind == "result":
            self._finish(worker, running, message)
        elif kind == "over_limit":
            self._refuse(worker, running, message)
        elif kind == "infeasible":
            self._fail(worker, message["reason"], message["detail"])
            self._check_failures(running, message["reason"])
        else:
            self._stop_for(worker, running, message)

    def _report(self, worker: AnyWorker, running: _Running, message: Message) -> None:
        """Report an epoch and tell the worker to go on, to stop, or to pause. The baseline is
        neither pruned nor paused.
        """
        opened, epoch, value = (
            running.opened,
            message["number"],
            message["metrics"][self._config.metric],
        )
        optuna_prunes = self._config.pruner in ("hyperband", "median")
        prune = optuna_prunes and self._report_epoch(running, message)
        if running.stop != TOLD:
            self._ladder.record(opened.number, epoch, value)
            running.stop = self._why_to_stop(opened, epoch, prune=prune)
        worker.send({"go": "pause" if running.stop in ("paused", *STOPPED) else not running.stop})
        if not optuna_prunes:  # written while the worker goes on
            self._report_epoch(running, message)
        self._notify(f"trial {opened.number} epoch {epoch}: {self._config.metric} {value:.4f}")
        self._give_up_the_hopeless()

    def _report_epoch(self, running: _Running, message: Message) -> bool:
        """Write an epoch down; whether Optuna's pruner would stop the trial."""
        if running.stop != TOLD:
            with self._unless_told(running.opened):
                return self._record.report(running.opened, message)
            running.stop = TOLD
        return False

    def _give_up_the_hopeless(self) -> None:
        for other in [
            o for o in self._paused.values() if self._ladder.is_hopeless(o.number, o.n_epochs)
        ]:
            self._give_up(other, "behind too many at its rung")

    @contextlib.contextmanager
    def _unless_told(self, opened: OpenTrial) -> Iterator[None]:
        """Let go of a trial that another program has ended: the Dashboard, or a coordinator that
        took this one for dead.
        """
        try:
            yield
        except UpdateFinishedTrialError:
            self._forget(opened)

    def _forget(self, opened: OpenTrial) -> None:
        self._ladder.forget(opened.number)
        self._configurations.forget(opened.number)
        self._folder.checkpoint_path(opened.number).unlink(missing_ok=True)
        self._notify(
            f"trial {opened.number} has been ended by another program; what this one did of it is"
            " left out"
        )
        self._record.refresh()
        self._settle_twins(opened.number)

    def _why_to_stop(self, opened: OpenTrial, epoch: int, *, prune: bool) -> str:
        n_left = self._config.train.epochs - epoch
        if self._interrupt.requested and n_left:
            return "interrupted"
        if self._time_is_up() and n_left:
            return "timeout"
        if n_left < MIN_EPOCHS_SAVED or opened.is_baseline:
            return ""
        if prune:
            return "pruned"
        if self._ladder.goes_on(opened.number, epoch):
            return ""
        return "pruned" if self._ladder.is_hopeless(opened.number, epoch) else "paused"

    def _finish(self, worker: AnyWorker, running: _Running, message: Message) -> None:
        opened = running.opened
        if running.stop in STOPPED and message["stopped"] and not message["paused"]:
            self._fail(
                worker, running.stop, f"{STOPPED[running.stop]}; its values are queued again"
            )
            return
        self._leave(worker)
        self._failures_in_a_row = 0
        if message["paused"]:
            self._record.pause(opened, message)
            self._paused[opened.number] = opened
            self._notify(f"trial {opened.number} pauses after epoch {opened.n_epochs}")
            self._bound_checkpoints()
            return
        pruned = (
            bool(running.stop) and message["stopped"]
        )  # else its patience was over in the very epoch
        self._record.finish(opened, message, pruned=pruned)
        if pruned:
            self._notify(f"trial {opened.number} pruned after epoch {opened.n_epochs}")
        else:
            value, epoch = message["best_value"], message["best_epoch"]
            self._notify(
                f"trial {opened.number} complete: {self._config.metric} {value:.4f} in epoch"
                f" {epoch}"
            )
        self._settle_twins(opened.number)

    def _refuse(self, worker: AnyWorker, running: _Running, message: Message) -> None:
        """A model that is larger or slower than allowed was built and measured, not trained."""
        self._leave(worker)
        self._failures_in_a_row = 0
        opened = running.opened
        self._record.refuse(opened, message)
        over = [
            f"{name} {message[name]:,g}, {most:,g} allowed"
            for name, most in exceeded(self._config.limits, message).items()
        ]
        self._notify(f"trial {opened.number} not trained: {', '.join(over)}")
        self._settle_twins(opened.number)

    def _bound_checkpoints(self) -> None:
        """Give up the trials that have been paused longest while the checkpoints take too much
        room.
        """
        sizes = {
            number: self._folder.checkpoint_path(number).stat().st_size for number in self._paused
        }
        while sum(sizes.values()) > MAX_CHECKPOINT_BYTES:
            oldest = next(iter(sizes))
            del sizes[oldest]
            self._give_up(self._paused[oldest], "its checkpoint made room for others")

    def _give_up(self, opened: OpenTrial, why: str) -> None:
        del self._paused[opened.number]
        with self._unless_told(opened):
            self._record.give_up(opened)
            self._notify(f"trial {opened.number} pruned after epoch {opened.n_epochs}, {why}")
        self._settle_twins(opened.number)

    def _leave(self, worker: AnyWorker) -> OpenTrial:
        """A worker is at its trial no more."""
        self._watch.end(worker)
        return self._running.pop(worker).opened

    def _fail(
        self, worker: AnyWorker, reason: str, detail: str, *, queue_again: bool = True
    ) -> None:
        opened = self._leave(worker)
        self._ladder.forget(opened.number)
        self._configurations.forget(opened.number)
        with self._unless_told(opened):
            self._record.fail(opened, reason, detail, queue_again=queue_again)
            self._notify(f"trial {opened.number} failed: {reason}")
        self._settle_twins(opened.number)

    def _interrupt_trial(self, worker: AnyWorker) -> None:
        """Leave a trial as it was at its last pause, or tell it FAIL and queue it again."""
        opened = self._running[worker].opened
        if self._record.can_go_on(opened):
            self._leave(worker)
            with self._unless_told(opened):
                self._record.mark(opened, paused=True)
        else:
            self._fail(worker, "interrupted", "the search was stopped")

    def _check_failures(self, running: _Running, reason: str) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise StudyError(
                f"A search must finish some of its trials; {MAX_FAILURES_IN_A_ROW} failed one after"
                f" the other, the last for {reason!r}. See"
                f" {self._folder.error_path(running.opened.number)}, and narrow the search space."
            )

    def _stop_for(self, worker: AnyWorker, running: _Running, message: Message) -> None:
        """A bug in the space's code: keep its traceback, fail the trial and stop the study, unless
        it is to go on all the same.
        """
        number, values = running.opened.number, describe(running.opened.values, self._space)
        self._fail(
            worker,
            "bug",
            f"{message['message']}\n\n{message['traceback']}",
            queue_again=not self._keep_going,
        )
        if self._keep_going:
            self._check_failures(running, "bug")
            return
        raise SpaceBug(
            f"Trial {number} ({values}) stopped the study: {message['message']} The traceback is in"
            f" {self._folder.error_path(number)}; mend the space, then go on with the same command"
            " (--keep-going leaves such trials out).",
            traceback=message["traceback"],
        )

    def _notify(self, event: str = "") -> None:
        if event:
            logger.info(event)
        elapsed, summary = time.monotonic() - self._started, self._record.summary
        running = {one.opened.number: one.opened.n_epochs for one in self._running.values()}
        left = self._time_left.seconds(
            summary.trials,
            running,
            n_new=max(self._n_wanted(), 0),
            n_workers=self._coordinators.n_workers,
        )
        if self._timeout is not None:
            until_timeout = max(self._timeout - elapsed, 0.0)
            left = until_timeout if left is None else min(left, until_timeout)
        self._on_change(
            Progressed(
                summary,
                self.n_trials,
                self._config.train.epochs,
                running,
                len(self._paused),
                elapsed,
                left,
                event,
            )
        )
