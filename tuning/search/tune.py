"""One call of `make tune`: own the study, prepare its data, open it, search, annotate it for the
Dashboard.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from tuning.config import DEFAULT_TRIALS, StudyConfig
from tuning.data.corpus import Corpus
from tuning.data.files import Progress
from tuning.data.prepare import prepare_corpus, release_memory
from tuning.errors import ArgumentError, StudyError
from tuning.outcomes import SearchEnd
from tuning.results import ResultsDir, StudyDir, translated
from tuning.search.loop import Search
from tuning.search.progress import Progressed
from tuning.search.session import Drawing, NoDrawing, Session, signals
from tuning.spaces.loading import SearchSpace, find_space, list_spaces, source_sha256
from tuning.study.coordinators import (
    DEAD_SECONDS,
    FIRST_COORDINATOR,
    Coordinators,
    identify,
    requested_n_trials,
    set_n_trials,
)
from tuning.study.housekeeping import trim_caches
from tuning.study.lock import study_lock
from tuning.study.samplers import grid_points
from tuning.study.storage import close_study, storage_errors
from tuning.study.study import open_study, recorded_config, recorded_space
from tuning.study.summary import Summary, summarize
from tuning.workers.limits import TrialLimits
from tuning.workers.pool import Pool, declared_space
from tuning.workers.pools import PoolChoice, open_pool, start_early

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A search that ended: its study's summary, and why it ended ("finished", "timeout",
    "interrupted", "exhausted").
    """

    summary: Summary
    space: SearchSpace
    ended: SearchEnd
    n_trials: int


def tune(
    config: StudyConfig,
    *,
    results: ResultsDir,
    storage_url: str,
    n_trials: int | None,
    timeout_seconds: float | None = None,
    n_workers: int | None = None,
    limits: TrialLimits | None = None,
    keep_going: bool = False,
    dead_seconds: float = DEAD_SECONDS,
    pool_choice: PoolChoice = PoolChoice(),  # noqa: B008  # frozen
    progress: Progress | None = None,
    drawing: Drawing = NoDrawing(),  # noqa: B008  # it has no state
    on_start: Callable[[Corpus, SearchSpace], None] = lambda corpus, space: None,
    on_change: Callable[[Progressed], None] = lambda progressed: None,
    then: Callable[[Session, Outcome], None] = lambda session, outcome: None,
) -> Outcome:
    """Prepare the data, open the study and search until `n_trials` trials are finished in all, or
    the time is up.

    A worker whose trial goes beyond `limits` is replaced; by default it has its share of the
    machine's memory, and any time that it computes. `keep_going`: a bug in the search space fails
    its trial and does not stop the study. Without `n_trials`, it is what the study was last asked
    for. Another machine may take this one for dead when it has not been heard for `dead_seconds`.
    `then` is called when the search has ended, while the study is still owned and its workers are
    there: a confirmation goes on with them.

    Raises:
        TuningError: what a user can mend; nothing that was finished is lost.
    """
    if n_trials is not None and n_trials < 1:
        raise ArgumentError(f"--n-trials must be 1 or more; received {n_trials}.")
    if timeout_seconds is not None and timeout_seconds <= 0:
        raise ArgumentError(f"--timeout-seconds must be more than 0; received {timeout_seconds:g}.")
    started = time.monotonic()
    folder = results.study(config.study)
    space_path = find_space(config.space)
    with translated(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    with study_lock(folder), contextlib.ExitStack() as stack:
        own = identify(folder)
        if own != FIRST_COORDINATOR:
            _require_same_source(space_path, folder)
        start_early(pool_choice, log_path=folder.log_path)
        corpus = prepare_corpus(config, results=results, progress=progress)[
            0
        ]  # the texts are not held while the search runs
        for path in trim_caches(results, own=folder, keep=corpus.fingerprint):
            logger.info("removed %s: no study used it, and tokenised data have a limit", path)
        release_memory()
        if progress:
            progress("starting the workers", 0.0)
        opened = open_pool(
            pool_choice,
            n_workers=n_workers,
            limits=limits or TrialLimits(),
            log_path=folder.log_path,
        )
        pool, limits = stack.enter_context(opened)
        space = declared_space(pool, space_path, n_classes=len(corpus.card.class_names))
        if config.sampler == "grid":
            grid_points(
                space, seed=config.seed
            )  # refuses a space without a grid before anything is written
        with storage_errors(storage_url):
            study = open_study(
                results, config, space, data_fingerprint=corpus.fingerprint, storage_url=storage_url
            )
            coordinators = Coordinators(
                study, own, n_workers=len(pool.workers), dead_seconds=dead_seconds
            )
            on_start(corpus, space)
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
                coordinator=own,
                keep_going=keep_going,
                drawing=drawing,
            )
            _annotate(session, with_figures=False)
            try:
                search = Search(session, coordinators, on_change=on_change)
                left = (
                    None
                    if timeout_seconds is None
                    else timeout_seconds - (time.monotonic() - started)
                )
                ended = search.run(
                    n_trials=_n_trials(study, n_trials, joins=own != FIRST_COORDINATOR),
                    timeout_seconds=left,
                )
                outcome = Outcome(
                    summarize(study, metric=config.metric), space, ended, search.n_trials
                )
                then(session, outcome)
            finally:
                _annotate(session)
                close_study(study)
    return outcome


def _annotate(session: Session, *, with_figures: bool = True) -> None:
    """Write the Dashboard's note. A machine that joins leaves the note to the machine that created
    the study, whose folder has the confirmation.
    """
    if session.coordinator == FIRST_COORDINATOR:
        summary = summarize(session.study, metric=session.config.metric)
        session.drawing.annotate(session, summary, with_figures=with_figures)


def _require_same_source(path: Path, folder: StudyDir) -> None:
    """A machine that joins must train what the others train; nothing of a file that is not theirs
    is run.

    Raises:
        StudyError: its file of the space is another.
    """
    here, recorded = source_sha256(path), recorded_space(folder).source_sha256
    if here != recorded:
        raise StudyError(
            f"A machine that joins must have the search space of the others; {path} has sha256"
            f" {here[:12]}, the study's is {recorded[:12]}. Put the others' file there, or remove"
            f" {folder.path} and join again with --space."
        )


def _n_trials(study: optuna.Study, named: int | None, *, joins: bool) -> int:
    """How many trials a study is to have: what is named, or was last asked for, or the default.

    Raises:
        StudyError: it joins a study of which the machine that creates it has not come to say so, or
            was killed before.
    """
    told = requested_n_trials(study)
    if named is None and told is None and joins:
        raise StudyError(
            f"A study to join must have begun; {study.study_name!r} has not. Wait for the machine"
            " that creates it, or type its command there again, or say how many trials there are"
            " to be with --n-trials."
        )
    n_trials = named or told or DEFAULT_TRIALS
    if named is not None or told is None:
        set_n_trials(study, n_trials)
    return n_trials


def configure(study: str, flags: dict[str, Any], folder: StudyDir) -> StudyConfig:
    """The configuration of this call: the study's own where it exists, else the defaults, with
    `flags` over it.

    What a flag changes of an existing study is refused by `open_study`.

    Raises:
        ArgumentError: a value out of range, or an unknown metric, sampler or pruner.
    """
    base = recorded_config(folder) if folder.config_path.exists() else StudyConfig(study=study)
    values = {
        name: replace(getattr(base, name), **value) if isinstance(value, dict) else value
        for name, value in flags.items()
    }
    return replace(base, **values)


def declared_spaces(*, n_classes: int) -> dict[str, tuple[Path, SearchSpace]]:
    """Every search space with its file, read by a worker."""
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Pool(1, log_path=Path(folder) / "worker.log") as pool,
    ):
        for name, path in list_spaces().items():
            found[name] = (path, declared_space(pool, path.absolute(), n_classes=n_classes))
    return found
