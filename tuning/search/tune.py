"""One call of `make tune`: lock the study, prepare its data, open it, search, and write its note
for Optuna Dashboard.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from tuning.config import DEFAULT_TRIALS, MAX_TRIALS, Limits, StudyConfig, Workers
from tuning.data.files import Progress
from tuning.errors import ArgumentError, StudyError
from tuning.inputs.corpus import Corpus
from tuning.outcomes import SearchEnd
from tuning.results import ResultsDir, StudyDir
from tuning.search.confirm import MIN_COMPLETE
from tuning.search.loop import Search
from tuning.search.progress import Progressed
from tuning.search.session import Drawing, Session, signals, space_of_file
from tuning.spaces.files import find_space, source_sha256
from tuning.spaces.loading import SearchSpace
from tuning.study.coordinators import (
    DEAD_SECONDS,
    FIRST_COORDINATOR,
    TOTAL_SECONDS,
    Coordinators,
    identify,
    requested_n_trials,
    searched_seconds,
    set_n_trials,
)
from tuning.study.housekeeping import trim_caches
from tuning.study.lock import study_lock
from tuning.study.prepare import prepare_corpus, prepare_views, release_memory, with_parts
from tuning.study.samplers import grid_points
from tuning.study.storage import close_study, import_late_modules, storage_errors
from tuning.study.study import open_study, read_record, recorded_space
from tuning.study.summary import Summary, summarize
from tuning.workers.pool import open_pool, start_early

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    summary: Summary
    space: SearchSpace
    ended: SearchEnd
    n_trials: int

    @property
    def min_complete(self) -> int:
        """A search that only its duration limits may complete a single trial."""
        return 1 if self.n_trials == MAX_TRIALS else MIN_COMPLETE


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The budget of a call. `total_seconds`: duration of the study's searches over all calls, in
    place of `n_trials` and `timeout_seconds`; trials that are paused when the time is up are
    pruned. `min_texts`: minimum number of texts that a trial trains before it is compared with
    others (`fidelity`).
    """

    n_trials: int | None = None
    timeout_seconds: float | None = None
    total_seconds: float | None = None
    min_texts: int | None = None

    def __post_init__(self) -> None:
        n_trials, seconds, min_texts = self.n_trials, self.timeout_seconds, self.min_texts
        if n_trials is not None and n_trials < 1:
            raise ArgumentError(f"n_trials must be 1 or more; received {n_trials}.")
        if seconds is not None and seconds <= 0:
            raise ArgumentError(f"timeout_seconds must be more than 0; received {seconds:g}.")
        if min_texts is not None and min_texts < 1:
            raise ArgumentError(f"min_texts must be 1 or more; received {min_texts}.")


@dataclass(frozen=True, kw_only=True)
class FailurePolicy:
    """`keep_going`: a bug in the search space fails its trial and does not stop the study.
    `dead_seconds`: after so many seconds without a heartbeat this machine counts as dead for
    others.
    """

    keep_going: bool = False
    dead_seconds: float = DEAD_SECONDS


@dataclass(frozen=True, kw_only=True)
class TuneHooks:
    """`then` is called while the study is still locked and its workers are running."""

    progress: Progress | None = None
    on_start: Callable[[Corpus, SearchSpace], None] = lambda corpus, space: None
    on_change: Callable[[Progressed], None] = lambda progressed: None
    then: Callable[[Session, Outcome], None] = lambda session, outcome: None
    drawing: Drawing | None = None


def tune(  # noqa: PLR0913 - the settings of a call are objects already
    config: StudyConfig,
    results: ResultsDir,
    *,
    storage_url: str,
    budget: Budget | None = None,
    workers: Workers | None = None,
    limits: Limits | None = None,
    failures: FailurePolicy | None = None,
    hooks: TuneHooks | None = None,
) -> Outcome:
    """Prepare the data, open the study, and search until the budget is used."""
    budget, workers, hooks = budget or Budget(), workers or Workers(), hooks or TuneHooks()
    failures = failures or FailurePolicy()
    started, folder = time.monotonic(), results.study(config.study)
    space_path = find_space(config.space)
    with study_lock(folder), contextlib.ExitStack() as stack:
        own = identify(folder)
        if own != FIRST_COORDINATOR:
            _require_same_source(space_path, folder)
        start_early(workers)
        corpus = _prepare(config, results, hooks.progress)
        config = with_parts(config, folder, corpus=corpus, min_texts=budget.min_texts)
        opened = open_pool(workers, limits or Limits(), log_path=folder.log_path)
        pool, limits = stack.enter_context(opened)
        space = space_of_file(pool, space_path, config, corpus)
        if config.sampler == "grid":
            grid_points(space, seed=config.seed)  # An endless grid is refused.
        prepare_views(corpus, space, config, progress=hooks.progress)
        with storage_errors(storage_url):
            study = open_study(
                results, config, space, data_fingerprint=corpus.fingerprint, storage_url=storage_url
            )
            session = Session(
                study=study,
                config=config,
                space=recorded_space(folder),  # The file's starting points may have changed since.
                space_path=space_path,
                results=results,
                corpus=corpus,
                pool=pool,
                limits=limits,
                interrupt=stack.enter_context(signals()),
                coordinator=own,
                keep_going=failures.keep_going,
                drawing=hooks.drawing,
            )
            return _search(session, budget, failures=failures, started=started, hooks=hooks)


def _prepare(config: StudyConfig, results: ResultsDir, progress: Progress | None) -> Corpus:
    """The texts are released, because no worker needs them while the search runs."""
    corpus, _ = prepare_corpus(config, results=results, progress=progress)
    folder = results.study(config.study)
    for path in trim_caches(results, own=folder, keep=corpus.fingerprint):
        logger.info("removed %s: no study used it, and tokenized data have a limit", path)
    release_memory()
    if progress:
        progress("starting the workers", 0.0)
    import_late_modules()
    return corpus


def _search(
    session: Session, budget: Budget, *, failures: FailurePolicy, started: float, hooks: TuneHooks
) -> Outcome:
    study, own, n_workers = session.study, session.coordinator, len(session.pool.workers)
    coordinators = Coordinators(study, own, n_workers=n_workers, dead_seconds=failures.dead_seconds)
    hooks.on_start(session.corpus, session.space)
    _annotate(session, with_figures=False)
    try:
        search = Search(session, coordinators, on_change=hooks.on_change)
        seconds, named, total = budget.timeout_seconds, budget.n_trials, budget.total_seconds
        if total is not None:
            seconds, named = total - searched_seconds(study), MAX_TRIALS
        left = None if seconds is None else seconds - (time.monotonic() - started)
        n_trials = _n_trials(study, named, joins=own != FIRST_COORDINATOR)
        if total is not None:
            study.set_user_attr(TOTAL_SECONDS, total)  # After `n_trials`: the search is not over.
        ended = search.run(n_trials, timeout_seconds=left, ends_paused=total is not None)
        summary = summarize(study, metric=session.config.metric)
        if total is not None and ended != SearchEnd.INTERRUPTED:
            set_n_trials(study, max(summary.n_finished, 1))  # The study has all of its trials.
        outcome = Outcome(summary, session.space, ended, search.n_trials)
        hooks.then(session, outcome)
    finally:
        _annotate(session)
        close_study(study)
    return outcome


def _annotate(session: Session, *, with_figures: bool = True) -> None:
    """The note is left to the machine that created the study, whose folder has the confirmation."""
    if session.coordinator == FIRST_COORDINATOR:
        summary = summarize(session.study, metric=session.config.metric)
        session.draw(summary, with_figures=with_figures)


def _require_same_source(path: Path, folder: StudyDir) -> None:
    """Compare the file's hash before its code runs: all machines must train the same models."""
    here, recorded = source_sha256(path), recorded_space(folder).source_sha256
    if here != recorded:
        raise StudyError(
            f"A machine that joins must have the search space of the others; {path} has sha256"
            f" {here[:12]}, the study's is {recorded[:12]}. Put the others' file there, or remove"
            f" {folder.path} and join again with its space."
        )


def _n_trials(study: optuna.Study, named: int | None, *, joins: bool) -> int:
    """Return this call's number of trials, else that of the last call, else the default."""
    requested = requested_n_trials(study)
    if named is None and requested is None and joins:
        raise StudyError(
            f"A study to join must have begun; {study.study_name!r} has not. Wait for the machine"
            " that creates it, or type its command there again, or give"
            " n_trials."
        )
    n_trials = named or requested or DEFAULT_TRIALS
    if named is not None or requested is None:
        set_n_trials(study, n_trials)
    return n_trials


def configure(study: str, flags: dict[str, Any], folder: StudyDir) -> StudyConfig:
    """Return the study's own configuration, or the defaults, with the values of `flags` in their
    places. `open_study` refuses flags that change an existing study.
    """
    base = read_record(folder).config if folder.config_path.exists() else StudyConfig(study=study)
    values = {
        name: replace(getattr(base, name), **value) if isinstance(value, dict) else value
        for name, value in flags.items()
    }
    return replace(base, **values)
