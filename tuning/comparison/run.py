"""One call of `make compare`: prepare the data, train the linear references, then search and
confirm one space after the other, each in a study of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from optuna.trial import TrialState

from tuning.comparison.document import (
    ComparedReference,
    ComparedSpace,
    Comparison,
    Request,
    begin,
    on_data,
)
from tuning.confirmation.rounds import Confirmation
from tuning.data.corpus import Corpus
from tuning.data.files import Progress
from tuning.data.splits import SplitReviews
from tuning.errors import SpaceError, StudyError
from tuning.outcomes import SearchEnd
from tuning.results import ResultsDir, StudyDir
from tuning.search.confirm import ConfirmHooks, confirm_within
from tuning.search.finalists import Terms
from tuning.search.progress import Progressed
from tuning.search.session import Drawing, NoDrawing, Session, Workers
from tuning.search.tune import Budget, Outcome, TuneHooks, tune
from tuning.spaces.ranges import Values
from tuning.study.coordinators import set_n_trials
from tuning.study.lock import study_lock
from tuning.study.prepare import prepare_corpus, release_memory
from tuning.study.summary import best_of, summarize
from tuning.study.trials import values_of
from tuning.workers.dispatcher import TICK_SECONDS, Dispatcher
from tuning.workers.messages import ModelRefused

logger = logging.getLogger(__name__)

# A search ends by its minutes, never by its number of trials.
MAX_TRIALS = 1_000_000
# Time of a search whose minutes were over when its process was killed: it is only closed.
NO_SECONDS = 0.001
# Minimum time between two writes of the document that have no new best value, in seconds.
SAVE_SECONDS = 1.0
# A slow model may have a single complete trial. That is enough for a comparison with other models.
MIN_COMPLETE = 1


@dataclass(frozen=True, kw_only=True)
class CompareHooks:
    """What a comparison calls while it works.

    Args:
        progress: called with a step, and the share of a space's minutes that is over.
        on_line: called with a sentence about the comparison.
        on_change: called with the comparison after each space.
        drawing: draws the studies for Optuna Dashboard.
    """

    progress: Progress = lambda label, share: None
    on_line: Callable[[str], None] = lambda line: None
    on_change: Callable[[Comparison], None] = lambda comparison: None
    drawing: Drawing = field(default_factory=NoDrawing)


def compare(
    folder: StudyDir,
    request: Request,
    results: ResultsDir,
    *,
    storage_url: str,
    workers: Workers | None = None,
    hooks: CompareHooks | None = None,
) -> Comparison:
    """Search and confirm every space of a comparison that is not finished yet.

    The same call continues a comparison that was stopped: finished spaces are left as they are, and
    the others go on with the minutes that they have left. A space whose search or confirmation
    fails is recorded with its reason, and the others go on. The test split is never read.

    Returns:
        The comparison; a space that is neither over nor failed means that the user has interrupted
        the call.

    Raises:
        TuningError: what a user can correct, except failures of single spaces.
    """
    comparison = begin(folder, request)
    comparison.config_of(comparison.spaces[0])  # A wrong seed is refused before a folder is made.
    with study_lock(folder):
        call = _Call(
            folder=folder,
            comparison=comparison,
            results=results,
            storage_url=storage_url,
            workers=workers or Workers(),
            hooks=hooks or CompareHooks(),
        )
        call.prepare()
        call.search()
    return call.comparison


@dataclass(kw_only=True)
class _Call:
    """One call of `compare`. Every change of the comparison is written before the next step."""

    folder: StudyDir
    comparison: Comparison
    results: ResultsDir
    storage_url: str
    workers: Workers
    hooks: CompareHooks

    def prepare(self) -> None:
        """Read and tokenize the data, and train the references, before the first search: no space
        pays for the tokens and n-grams that others use too.
        """
        config = self.comparison.config_of(self.comparison.spaces[0])
        progress = self.hooks.progress
        corpus, splits = prepare_corpus(config, results=self.results, progress=progress)
        self.comparison = on_data(self.comparison, corpus.fingerprint, name=self.folder.name)
        if not self.comparison.references:
            progress("training the linear references", 0.0)
            references = linear_references(corpus, splits)
            self.comparison = replace(self.comparison, references=references)
        self.comparison.save(self.folder)
        del splits
        release_memory()
        for reference in self.comparison.references:
            self.hooks.on_line(
                f"{reference.name} has {reference.accuracy:.4f} validation accuracy: a bar for"
                " every space."
            )

    def search(self) -> None:
        """Search and confirm each unfinished space, until the user interrupts one."""
        for space in self.comparison.unfinished:
            if not self._search_one(replace(space, failure=None)):
                return
            self.hooks.on_change(self.comparison)

    def _search_one(self, space: ComparedSpace) -> bool:
        """Search and confirm one space; return False if the user has interrupted that."""
        comparison = self.comparison
        number = 1 + [one.study for one in comparison.spaces].index(space.study)
        self.hooks.on_line(
            f"{space.name}, space {number} of {len(comparison.spaces)}: searching until"
            f" {comparison.minutes:g} min are over, then confirming (study {space.study})."
        )
        search = _Search(space, comparison.minutes, self._keep, self.hooks.progress)
        hooks = TuneHooks(
            progress=search.prepare,
            on_change=search.change,
            then=search.confirm,
            drawing=self.hooks.drawing,
        )
        try:
            tune(
                comparison.config_of(space),
                self.results,
                storage_url=self.storage_url,
                budget=Budget(n_trials=MAX_TRIALS, timeout_seconds=search.seconds_left),
                workers=self.workers,
                hooks=hooks,
            )
        except (SpaceError, StudyError) as error:
            self._fail(search.space, str(error))
            return True
        return search.space.is_over

    def _keep(self, space: ComparedSpace) -> None:
        self.comparison = self.comparison.with_space(space)
        self.comparison.save(self.folder)

    def _fail(self, space: ComparedSpace, reason: str) -> None:
        logger.warning("%s failed: %s", space.study, reason)
        self._keep(replace(space, failure=reason))
        self.hooks.on_line(f"{space.name} failed, and the others go on: {reason}")


class _Search:
    """The search and the confirmation of one space. Its seconds count from this object's making.

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
        close_search(session)
        if not outcome.summary.counts["complete"]:
            raise StudyError(
                f"A search must complete a trial in its {self._minutes:g} min; this one trained"
                f" {len(outcome.summary.trials)} in part. Give every space more with MINUTES."
            )
        confirmation = confirm_within(
            session,
            Terms(n_pruned=0),
            min_complete=MIN_COMPLETE,
            hooks=ConfirmHooks(on_change=lambda event, _: self._show(event)),
        )
        if confirmation.is_over:
            latency = measured_latency(session, best_values(session, confirmation))
            # Without a latency the user has interrupted its measurement.
            self._keep(replace(self.space, is_over=latency is not None, latency_ms=latency))

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _keep(self, space: ComparedSpace) -> None:
        self.space = space
        self._write(space)

    def _show(self, event: str) -> None:
        self._label = f"{self.space.name}: {event}" if event else self._label
        self._progress(self._label, min(self._seconds() / (60 * self._minutes), 1.0))


def linear_references(corpus: Corpus, splits: SplitReviews) -> list[ComparedReference]:
    """Train two linear models on the training split and score them on the validation split: TF-IDF,
    and the tuned model that `make tune` names as its bar.
    """
    # Imported here because scikit-learn's linear models take a second to import.
    from tuning.evaluation.linear_reference import fit_linear_reference
    from tuning.evaluation.references import LINEAR, NGRAMS, linear_model

    train, validation = (
        (frame["text"].tolist(), frame["label"].to_numpy())
        for frame in (splits.frames["train"], splits.frames["validation"])
    )
    # The third argument is the texts to label. Those of the test split are not read here.
    plain = linear_model(train, validation, validation[0], n_classes=len(splits.class_names))
    tuned = fit_linear_reference(corpus)
    found = [(LINEAR, plain.about, plain.validation_accuracy, plain.seconds)]
    if (accuracy := tuned.value("val_accuracy")) is not None:
        found.append((NGRAMS, f"logistic regression on {tuned.about}", accuracy, tuned.seconds))
    return [
        ComparedReference(name=name, about=about, accuracy=accuracy, seconds=round(seconds, 2))
        for name, about, accuracy, seconds in found
    ]


def best_value(progressed: Progressed) -> float | None:
    """Return the best value of the metric after any epoch of any trial; None before the first."""
    values = [value for of_trial in progressed.values.values() for value in of_trial]
    for trial in progressed.summary.trials:
        values += trial.intermediate_values.values()
    return max(values, default=None)


def close_search(session: Session) -> None:
    """Prune the trials that are paused when the time is up, because a confirmation must follow a
    finished search, and set the study's number of trials to those that it has.
    """
    study = session.study
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.PRUNED)
        session.folder.checkpoint_path(trial.number).unlink(missing_ok=True)
    summary = summarize(study, metric=session.config.metric)
    set_n_trials(study, max(summary.n_finished, 1))


def best_values(session: Session, confirmation: Confirmation) -> Values:
    """Return the configuration of a study's best trial.

    Raises:
        StudyError: no trial is complete.
    """
    summary = summarize(session.study, metric=session.config.metric)
    best = best_of(summary, confirmation)
    trial = best.trial if best else summary.require_complete("a comparison")
    return values_of(trial, session.space)


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
