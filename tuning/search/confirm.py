"""`make confirm`: the best configurations and the baseline of a finished search, trained again on
fresh seeds by the same workers.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tuning.config import StudyConfig
from tuning.confirmation.rounds import Confirmation, Finalist
from tuning.data.corpus import Corpus
from tuning.data.files import Progress
from tuning.data.prepare import prepare_corpus, release_memory, require_same_data
from tuning.errors import SpaceBug, StudyError
from tuning.outcomes import FailureReason
from tuning.results import ResultsDir, StudyDir
from tuning.search.finalists import DEFAULT_TERMS, Terms, begin
from tuning.search.loop import TICK_SECONDS
from tuning.search.session import Drawing, NoDrawing, Session, signals
from tuning.search.writer import COUNTED, describe
from tuning.spaces.loading import SearchSpace, find_space, require_same_space
from tuning.study.lock import study_lock
from tuning.study.record import read_record
from tuning.study.storage import close_study
from tuning.study.study import load_study, recorded_config, recorded_space
from tuning.study.summary import Summary, summarize
from tuning.study.trials import busy_seconds
from tuning.training.result import Answer, FitResult
from tuning.workers.dispatcher import Dispatcher
from tuning.workers.limits import TrialLimits
from tuning.workers.messages import (
    Ending,
    EpochEnded,
    ErrorRaised,
    Train,
    TrainingEnded,
    TrainingFailed,
)
from tuning.workers.pool import AnyPool, declared_space
from tuning.workers.pools import PoolChoice, open_pool, start_early

logger = logging.getLogger(__name__)

MIN_COMPLETE = 3
MAX_LOST = 2  # a repeat that kills its worker twice is a failure

OnChange = Callable[[str, Confirmation], None]


def confirm(
    results: ResultsDir,
    folder: StudyDir,
    *,
    storage_url: str,
    terms: Terms = DEFAULT_TERMS,
    n_workers: int | None = None,
    limits: TrialLimits | None = None,
    pool_choice: PoolChoice = PoolChoice(),  # noqa: B008  # frozen
    progress: Progress | None = None,
    drawing: Drawing = NoDrawing(),  # noqa: B008  # it has no state
    on_start: Callable[[Confirmation, int], None] = lambda found, n_workers: None,
    on_change: OnChange = lambda event, found: None,
) -> Confirmation:
    """Prepare the data of a finished search, start workers, and `confirm_within` them.

    Raises:
        StudyError: fewer than three completed trials, a trial in the middle, other data than the
            search's, or another owner.
        SpaceError: the search space has changed.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    study = load_study(results, folder, storage_url=storage_url)
    try:
        _require_finished(summarize(study, metric=config.metric))
        with study_lock(folder):
            start_early(pool_choice, log_path=folder.log_path)
            corpus = prepare_corpus(config, results=results, progress=progress)[0]
            require_same_data(
                corpus,
                config,
                fingerprint=read_record(folder).data_fingerprint,
                doing="A confirmation",
            )
            release_memory()
            if progress:
                progress("starting the workers", 0.0)
            opened = open_pool(
                pool_choice,
                n_workers=n_workers,
                limits=limits or TrialLimits(),
                log_path=folder.log_path,
            )
            with opened as (pool, within), signals() as interrupt:
                session = Session(
                    study=study,
                    config=config,
                    space=space,
                    space_path=_same_space(pool, config, space, corpus),
                    results=results,
                    corpus=corpus,
                    pool=pool,
                    limits=within,
                    interrupt=interrupt,
                    drawing=drawing,
                )
                found = confirm_within(session, terms, on_start=on_start, on_change=on_change)
                drawing.annotate(session, summarize(study, metric=config.metric))
    finally:
        close_study(study)
    return found


def confirm_within(
    session: Session,
    terms: Terms = DEFAULT_TERMS,
    *,
    on_start: Callable[[Confirmation, int], None] = lambda found, n_workers: None,
    on_change: OnChange = lambda event, found: None,
) -> Confirmation:
    """Train the best configurations and the baseline on fresh seeds, with the workers of a session.

    `on_start` gets what is going to be trained and the number of workers. The same call goes on
    where a stopped one was. A finished confirmation goes on when the search has new best trials, or
    when more seeds, finalists, pruned trials or time are asked for; every configuration that has
    repeats stays among the finalists.

    Raises:
        StudyError: fewer than three completed trials, or a trial in the middle.
    """
    summary = summarize(session.study, metric=session.config.metric)
    _require_finished(summary)
    found = begin(summary, session, terms)
    on_start(found, len(session.pool.workers))
    _Repeats(session, found, on_change).run()
    return found


def _same_space(pool: AnyPool, config: StudyConfig, space: SearchSpace, corpus: Corpus) -> Path:
    """The file of a study's space, which must still declare what it declared."""
    path = find_space(config.space)
    declared = declared_space(pool, path, n_classes=len(corpus.card.class_names))
    require_same_space(declared, space, path=path, doing="A confirmation")
    return path


def _require_finished(summary: Summary) -> None:
    n_complete = summary.counts["complete"]
    if n_complete < MIN_COMPLETE:
        raise StudyError(
            f"A confirmation must have {MIN_COMPLETE} completed trials or more to choose from;"
            f" {summary.study!r} has {n_complete}. Type `make tune` to go on."
        )
    if summary.counts["running"]:
        raise StudyError(
            f"A confirmation must follow a finished search; {summary.counts['running']} trials of"
            f" {summary.study!r} were stopped in the middle. Type `make tune` to go on with them."
        )


@dataclass(frozen=True)
class _Repeat:
    """One training of a confirmation: a finalist's or pruned trial's configuration, and a seed."""

    trial: int
    seed: int


class _Repeats:
    """One call of `confirm`, from its first training to its last. Every result is written before
    the next training is started.
    """

    def __init__(self, session: Session, confirmation: Confirmation, on_change: OnChange) -> None:
        self._session, self._confirmation, self._on_change = session, confirmation, on_change
        self._dispatcher: Dispatcher[_Repeat] = Dispatcher(session.pool, session.limits)
        self._n_lost: Counter[_Repeat] = Counter()

    def run(self) -> None:
        confirmation, interrupt = self._confirmation, self._session.interrupt
        while not interrupt.requested and (due := confirmation.due()):
            self._save()
            self._train([_Repeat(finalist.trial, seed) for finalist, seed in due])
        self._save()

    def _save(self) -> None:
        self._confirmation.save(self._session.folder)

    def _train(self, waiting: list[_Repeat]) -> None:
        """Train one round, or as much of it as is trained when the user interrupts it."""
        while (waiting or self._dispatcher.running) and not self._session.interrupt.requested:
            for worker in self._dispatcher.free()[: len(waiting)]:
                repeat = waiting.pop(0)
                self._dispatcher.start(worker, repeat, self._request(repeat))
            for repeat, message in self._dispatcher.events(TICK_SECONDS):
                if isinstance(message, EpochEnded):
                    self._dispatcher.reply(repeat, Answer.GO_ON)
                elif self._is_lost(repeat, message):
                    waiting.append(repeat)
                else:
                    self._keep(repeat, message)

    def _request(self, repeat: _Repeat) -> Train:
        finalist = self._finalist(repeat)
        request = self._session.train_request(finalist.values)
        job = replace(request.job, seed=repeat.seed, measure_latency=False)
        if self._is_fresh(repeat):
            epochs = finalist.epochs
            job = replace(job, train=replace(job.train, epochs=epochs, patience=epochs))
        return replace(request, job=job)

    def _finalist(self, repeat: _Repeat) -> Finalist:
        finalists = (*self._confirmation.finalists, *self._confirmation.pruned)
        return next(finalist for finalist in finalists if finalist.trial == repeat.trial)

    def _is_fresh(self, repeat: _Repeat) -> bool:
        """Whether a training is a repeat on a fresh seed. A training on the search's own seed
        trains a pruned trial to its end.
        """
        return repeat.seed != self._confirmation.search_seed

    def _is_lost(self, repeat: _Repeat, message: Ending) -> bool:
        """Whether the training was lost with its worker and is to be tried once more."""
        if not isinstance(message, TrainingFailed) or message.reason not in COUNTED:
            return False
        self._n_lost[repeat] += 1
        return self._n_lost[repeat] < MAX_LOST

    def _keep(self, repeat: _Repeat, message: Ending) -> None:
        finalist = self._finalist(repeat)
        if isinstance(message, TrainingEnded):
            event = self._complete(finalist, repeat, message.result)
        elif isinstance(message, TrainingFailed):
            event = self._fail(finalist, repeat, message.reason)
        elif isinstance(message, ErrorRaised) and not self._session.keep_going:
            values = describe(finalist.values, self._session.space)
            raise SpaceBug(
                f"Trial {finalist.trial} ({values}) stopped the confirmation: {message.message}",
                traceback=message.traceback,
            )
        else:
            event = self._fail(finalist, repeat, FailureReason.BUG)
        self._save()
        logger.info(event)
        self._on_change(event, self._confirmation)

    def _complete(self, finalist: Finalist, repeat: _Repeat, result: FitResult) -> str:
        """Keep a result: the last epoch's value of a repeat, the best value of a pruned trial."""
        metric = self._confirmation.metric
        last = result.history[-1].metrics[metric]
        value = last if self._is_fresh(repeat) else result.best_value
        finalist.repeats[repeat.seed] = value
        self._confirmation.spent_seconds += busy_seconds(result.seconds)
        return f"{self._head(repeat)}: {metric} {value:.4f}"

    def _fail(self, finalist: Finalist, repeat: _Repeat, reason: FailureReason) -> str:
        finalist.repeats[repeat.seed], finalist.failures[repeat.seed] = None, reason.value
        self._confirmation.spent_seconds += finalist.seconds  # the time it took is not known
        return f"{self._head(repeat)} failed: {reason}"

    def _head(self, repeat: _Repeat) -> str:
        if self._is_fresh(repeat):
            n_seeds = len(self._confirmation.seeds)
            return (
                f"round {self._confirmation.rounds + 1} of {n_seeds} at most: trial {repeat.trial},"
                f" seed {repeat.seed}"
            )
        return f"pruned trial {repeat.trial}, trained to the end"
