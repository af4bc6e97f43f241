"""The search and confirmation of one space of a comparison, and the latency of its best model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from tuning.comparison.document import ComparedSpace
from tuning.confirmation.rounds import Confirmation
from tuning.data.files import Progress
from tuning.errors import StudyError
from tuning.outcomes import SearchEnd
from tuning.search.confirm import ConfirmHooks, confirm_within
from tuning.search.finalists import Terms
from tuning.search.progress import Progressed
from tuning.search.session import Session
from tuning.search.tune import Outcome
from tuning.spaces.ranges import Values
from tuning.study.coordinators import set_n_trials
from tuning.study.summary import best_of, summarize
from tuning.study.trials import epoch_values, value_of, values_of
from tuning.workers.dispatcher import TICK_SECONDS, Dispatcher
from tuning.workers.messages import ModelRefused

# Time limit of a search whose minutes had passed when its process was killed. The search then only
# ends its paused trials.
NO_SECONDS = 0.001
# Minimum seconds between two writes of the document, unless there is a new best value.
SAVE_SECONDS = 1.0
# A slow model may have a single complete trial. That is enough for a comparison with other models.
MIN_COMPLETE = 1


class SpaceSearch:
    """The search and the confirmation of one space. The seconds of the search count from the
    creation of this object.

    Args:
        keep: writes a new state of the space.
    """

    def __init__(
        self,
        space: ComparedSpace,
        minutes: float,
        keep: Callable[[ComparedSpace], None],
        progress: Progress,
    ) -> None:
        self.space, self._minutes = space, minutes
        self._write, self._progress = keep, progress
        self._before = space.seconds
        self._started = self._saved = time.monotonic()
        self._label = space.name

    @property
    def seconds_left(self) -> float:
        """Seconds that the search may still take."""
        if self.space.is_searched:
            return NO_SECONDS
        return max(60 * self._minutes - self._seconds(), NO_SECONDS)

    def prepare(self, label: str, share: float) -> None:
        """Show a step of the preparation."""
        self._show(label)

    def change(self, progressed: Progressed) -> None:
        """Keep the time and the best value of a search, and show them."""
        self._show(progressed.event)
        if self.space.is_searched:
            return
        changed = self.space.at(self._seconds(), best_value(progressed))
        now = time.monotonic()
        if changed.curve != self.space.curve or now - self._saved >= SAVE_SECONDS:
            self._saved = now
            self._keep(changed)

    def confirm(self, session: Session, outcome: Outcome) -> None:
        """Confirm the best of a search that is over, and measure its latency.

        Raises:
            StudyError: no trial is complete.
        """
        if outcome.ended == SearchEnd.INTERRUPTED:
            return
        if not self.space.is_searched:
            self._keep(replace(self.space.at(self._seconds(), None), is_searched=True))
        # A confirmation must follow a search that has all of its trials.
        set_n_trials(session.study, max(outcome.summary.n_finished, 1))
        if not outcome.summary.counts["complete"]:
            raise StudyError(
                f"A search must complete a trial in its {self._minutes:g} min; this one trained"
                f" {len(outcome.summary.trials)} in part. Give every space more"
                " with --minutes."
            )
        confirmation = confirm_within(
            session,
            Terms(n_pruned=0),
            min_complete=MIN_COMPLETE,
            hooks=ConfirmHooks(on_change=lambda event, _: self._show(event)),
        )
        if confirmation.is_over:
            trial = best_trial(session, confirmation)
            latency = measured_latency(session, values_of(trial, session.space))
            # Without a latency the user has interrupted its measurement.
            self._keep(
                replace(
                    self.space,
                    is_over=latency is not None,
                    latency_ms=latency,
                    measured_trial=trial.number,
                )
            )

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _keep(self, space: ComparedSpace) -> None:
        self.space = space
        self._write(space)

    def _show(self, event: str) -> None:
        self._label = f"{self.space.name}: {event}" if event else self._label
        self._progress(self._label, min(self._seconds() / (60 * self._minutes), 1.0))


def best_value(progressed: Progressed) -> float | None:
    """Return the best value of the metric of any complete trial and after any whole epoch of the
    others; None before the first.
    """
    values = [value for of_trial in progressed.values.values() for value in of_trial]
    for trial in progressed.summary.trials:
        values += [value for epoch, value in epoch_values(trial).items() if epoch >= 1]
        values += [value_of(trial)] if trial.state == TrialState.COMPLETE else []
    return max(values, default=None)


def best_trial(session: Session, confirmation: Confirmation) -> FrozenTrial:
    """Return a study's best trial.

    Raises:
        StudyError: no trial is complete.
    """
    summary = summarize(session.study, metric=session.config.metric)
    best = best_of(summary, confirmation)
    return best.trial if best else summary.require_complete("a comparison")


def measured_latency(session: Session, values: Values) -> float | None:
    """Return the latency of a configuration's model for a single text in milliseconds, measured by
    a worker while the others wait; None if the user interrupts the measurement.

    Raises:
        StudyError: the worker did not answer with a latency.
    """
    request = session.train_request(values)
    # Every model has more than 0 parameters: it is built and measured, and then not trained.
    job = replace(request.job, limits={"n_parameters": 0}, measure_latency=True)
    dispatcher: Dispatcher[str] = Dispatcher(session.pool, session.limits)
    is_asked = False
    while not session.interrupt.requested:
        for worker in dispatcher.free()[: 0 if is_asked else 1]:
            dispatcher.start(worker, "latency", replace(request, job=job))
            is_asked = True
        for _, message in dispatcher.events(TICK_SECONDS):
            if isinstance(message, ModelRefused):
                return message.result.latency_ms
            raise StudyError(f"The latency of the best model must be measured; got {message!r}.")
    return None
