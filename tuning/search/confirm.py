"""One call of `make confirm`: the best configurations and the baseline of a finished search are
trained again on fresh seeds.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from tuning.config import Limits, Workers
from tuning.confirmation.plan import due_others
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.data.files import Progress
from tuning.errors import SpaceBug
from tuning.outcomes import FailureReason
from tuning.search.finalists import MIN_COMPLETE, Terms, begin, require_finished, with_others
from tuning.search.session import Drawing, Session, signals, space_of_file
from tuning.search.writer import describe
from tuning.spaces.files import find_space
from tuning.spaces.loading import require_same_space
from tuning.study.handle import StudyHandle
from tuning.study.lock import study_lock
from tuning.study.prepare import prepare_corpus, prepare_views, require_same_data
from tuning.study.storage import storage_errors
from tuning.study.summary import summarize
from tuning.study.trials import busy_seconds
from tuning.training.result import Answer, FitResult
from tuning.workers.dispatcher import TICK_SECONDS, Dispatcher
from tuning.workers.messages import (
    Ending,
    EpochEnded,
    ErrorRaised,
    Train,
    TrainingEnded,
    TrainingFailed,
)
from tuning.workers.pool import open_pool, start_early

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ConfirmHooks:
    """`on_change` is called with a sentence after each training."""

    progress: Progress | None = None
    on_start: Callable[[Confirmation, int], None] = lambda confirmation, n_workers: None
    on_change: Callable[[str, Confirmation], None] = lambda event, confirmation: None
    drawing: Drawing | None = None


def confirm(
    finished: StudyHandle,
    *,
    terms: Terms | None = None,
    workers: Workers | None = None,
    limits: Limits | None = None,
    hooks: ConfirmHooks | None = None,
    train: Callable[..., Confirmation] | None = None,
) -> Confirmation:
    """Prepare the data of a finished search, start workers, and confirm with them. `train` is
    called in place of `confirm_within`.
    """
    workers, hooks = workers or Workers(), hooks or ConfirmHooks()
    config, space = finished.config, finished.space
    results, folder = finished.results, finished.folder
    with (
        finished.opened() as study,
        storage_errors(finished.storage_url),
        contextlib.ExitStack() as stack,
    ):
        require_finished(summarize(study, metric=config.metric), folder)
        stack.enter_context(study_lock(folder))
        start_early(workers)
        corpus, _ = prepare_corpus(config, results=results, progress=hooks.progress)
        fingerprint = finished.record.data_fingerprint
        require_same_data(corpus, config, fingerprint=fingerprint, doing="A confirmation")
        prepare_views(corpus, space, config, progress=hooks.progress)
        if hooks.progress:
            hooks.progress("starting the workers", 0.0)
        opened = open_pool(workers, limits or Limits(), log_path=folder.log_path)
        pool, limits = stack.enter_context(opened)
        space_path = find_space(config.space)
        declared = space_of_file(pool, space_path, config, corpus)
        require_same_space(declared, space, path=space_path, doing="A confirmation")
        session = Session(
            study=study,
            config=config,
            space=space,
            space_path=space_path,
            results=results,
            corpus=corpus,
            pool=pool,
            limits=limits,
            interrupt=stack.enter_context(signals()),
            drawing=hooks.drawing,
        )
        within = train or partial(confirm_within, terms=terms)
        confirmation = within(session, hooks=hooks)
        session.draw(summarize(study, metric=config.metric))
    return confirmation


def confirm_within(
    session: Session,
    terms: Terms | None = None,
    *,
    min_complete: int = MIN_COMPLETE,
    hooks: ConfirmHooks | None = None,
) -> Confirmation:
    """Train the best configurations and the baseline on fresh seeds, with the workers of a session.

    The same call continues a confirmation that was stopped. A finished confirmation continues when
    the search has new best trials, or when more seeds, finalists, pruned trials or time are asked
    for. Every configuration that has repeats stays among the finalists.
    """
    hooks = hooks or ConfirmHooks()
    summary = summarize(session.study, metric=session.config.metric)
    require_finished(summary, session.folder, min_complete=min_complete)
    confirmation = begin(summary, session, terms or Terms())
    hooks.on_start(confirmation, len(session.pool.workers))
    return _Repeats(session, confirmation, hooks.on_change).run()


def train_others(session: Session, *, hooks: ConfirmHooks) -> Confirmation:
    """Train the best trial of each architecture that no finalist has, and keep its predictions."""
    confirmation = Confirmation.load(session.folder)
    assert confirmation is not None  # for mypy: a study without a confirmation is not trained here
    summary = summarize(session.study, metric=session.config.metric)
    confirmation = with_others(confirmation, summary, session.space)
    return _Repeats(session, confirmation, hooks.on_change, advance=due_others).run()


@dataclass(frozen=True)
class _Repeat:
    trial: int
    seed: int


class _Repeats:
    """One call of `confirm`. Every result is written before the next training is started."""

    def __init__(
        self,
        session: Session,
        confirmation: Confirmation,
        on_change: Callable[[str, Confirmation], None],
        *,
        # Returns a confirmation, and the trainings that it needs next: pairs of finalist and seed.
        advance: Callable[
            [Confirmation], tuple[Confirmation, list[tuple[Finalist, int]]]
        ] = Confirmation.advance,
    ) -> None:
        self._session, self._confirmation, self._on_change = session, confirmation, on_change
        self._advance = advance
        self._dispatcher: Dispatcher[_Repeat] = Dispatcher(session.pool, session.limits)

    def run(self) -> Confirmation:
        while not self._session.interrupt.requested:
            self._confirmation, trainings = self._advance(self._confirmation)
            if not trainings:
                break
            self._save()
            self._train([_Repeat(finalist.trial, seed) for finalist, seed in trainings])
        self._save()
        return self._confirmation

    def _save(self) -> None:
        self._confirmation.save(self._session.folder)

    def _train(self, waiting: list[_Repeat]) -> None:
        while (waiting or self._dispatcher.running) and not self._session.interrupt.requested:
            for worker in self._dispatcher.free()[: len(waiting)]:
                repeat = waiting.pop(0)
                self._dispatcher.start(worker, repeat, self._request(repeat))
            for repeat, message in self._dispatcher.events(TICK_SECONDS):
                if isinstance(message, EpochEnded):
                    self._dispatcher.reply(repeat, Answer.GO_ON)
                elif self._dispatcher.starts_again(repeat, message):
                    waiting.append(repeat)
                else:
                    self._record(repeat, message)

    def _request(self, repeat: _Repeat) -> Train:
        finalist = self._finalist(repeat)
        request = self._session.train_request(finalist.values)
        job = replace(request.job, seed=repeat.seed)
        if self._is_fresh(repeat):
            path = self._session.folder.repeat_path(repeat.trial, repeat.seed)
            job = replace(
                job,
                n_epochs=finalist.epochs,
                predictions=str(path.absolute()),
            )
        return replace(request, job=job)

    def _finalist(self, repeat: _Repeat) -> Finalist:
        now = self._confirmation
        items = [*now.finalists, *now.others] if self._is_fresh(repeat) else now.pruned
        return next(finalist for finalist in items if finalist.trial == repeat.trial)

    def _is_fresh(self, repeat: _Repeat) -> bool:
        """A training on the search's seed trains a pruned trial to its end."""
        return repeat.seed != self._confirmation.search_seed

    def _record(self, repeat: _Repeat, message: Ending) -> None:
        if isinstance(message, TrainingEnded):
            event = self._complete(repeat, message.result)
        elif isinstance(message, TrainingFailed):
            event = self._fail(repeat, message.reason)
        elif isinstance(message, ErrorRaised) and not self._session.keep_going:
            values = describe(self._finalist(repeat).values, self._session.space)
            raise SpaceBug(
                f"Trial {repeat.trial} ({values}) stopped the confirmation: {message.message}",
                traceback=message.traceback,
            )
        else:
            event = self._fail(repeat, FailureReason.BUG)
        self._save()
        logger.info(event)
        self._on_change(event, self._confirmation)

    def _complete(self, repeat: _Repeat, result: FitResult) -> str:
        """Record a result: the last epoch's value of a repeat, the best value of a pruned trial."""
        metric = self._confirmation.metric
        last = result.history[-1].metrics[metric]
        value = last if self._is_fresh(repeat) else result.best_value
        self._confirmation = self._confirmation.with_repeat(
            repeat.trial, repeat.seed, value, seconds=busy_seconds(result.seconds)
        )
        return f"{self._head(repeat)}: {metric} {value:.4f}"

    def _fail(self, repeat: _Repeat, reason: FailureReason) -> str:
        # The duration of the failed training is not known.
        seconds = self._finalist(repeat).seconds
        self._confirmation = self._confirmation.with_repeat(
            repeat.trial, repeat.seed, None, seconds=seconds, failure=reason
        )
        return f"{self._head(repeat)} failed: {reason}"

    def _head(self, repeat: _Repeat) -> str:
        if repeat.trial in {other.trial for other in self._confirmation.others}:
            return f"trial {repeat.trial}, seed {repeat.seed}, for ensembles"
        if self._is_fresh(repeat):
            n_seeds = len(self._confirmation.seeds)
            return (
                f"round {self._confirmation.rounds + 1} of {n_seeds} at most: trial {repeat.trial},"
                f" seed {repeat.seed}"
            )
        return f"pruned trial {repeat.trial}, trained to the end"
