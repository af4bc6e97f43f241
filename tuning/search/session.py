"""The session of one call of `tune` or `confirm`, and its interruption by the user."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import optuna

from tuning.config import Limits, StudyConfig, Workers
from tuning.evaluation.linear_reference import BackgroundFit, LinearTask
from tuning.inputs.corpus import Corpus
from tuning.results import ResultsDir, StudyDir
from tuning.search.events import Event, Interrupt, Step, Subscriber
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace, changed_source
from tuning.spaces.ranges import Values
from tuning.study.prepare import prepare_search, prepare_views, sizes_of
from tuning.study.storage import import_late_modules
from tuning.study.study import recorded_space
from tuning.workers.messages import Declare, Train, train_request
from tuning.workers.pool import AnyPool, declared_space, open_pool
from tuning.workers.server import start_server


@contextlib.contextmanager
def signals() -> Iterator[Interrupt]:
    """Set the `Interrupt` at the first Ctrl-C or SIGTERM; raise KeyboardInterrupt at the second."""
    interrupt = Interrupt()
    # Python allows handlers in the main thread alone. In another thread, as in a web application,
    # no signal ends the call.
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        # The loop of the search reads the flag between two writes to the storage. An exception at
        # the first signal could interrupt a write.
        interrupt.requested = True

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@dataclass(frozen=True, kw_only=True)
class Session:
    """The study of one call of `tune` or `confirm`, with its data and workers.

    Attributes:
        fit: the training of the linear model; None where the target has no such model.
        notes: sentences for the terminal about what the call has decided.
    """

    study: optuna.Study
    config: StudyConfig
    space: SearchSpace
    space_path: Path
    results: ResultsDir
    corpus: Corpus
    pool: AnyPool
    limits: Limits
    interrupt: Interrupt
    fit: BackgroundFit | None = None
    notes: Sequence[str] = ()
    keep_going: bool = False
    subscribers: Sequence[Subscriber] = ()

    @property
    def folder(self) -> StudyDir:
        return self.results.study(self.config.study)

    def notify(self, event: Event) -> None:
        # If a subscriber raises, the stack calls the others too: the note for Optuna Dashboard is
        # written although the terminal is closed.
        with contextlib.ExitStack() as stack:
            for subscriber in reversed(self.subscribers):  # The last callback is called first.
                stack.callback(subscriber, event)

    def train_request(self, values: Values) -> Train:
        return train_request(
            self.config,
            values,
            space=self.space,
            space_path=self.space_path,
            corpus=self.corpus,
        )


@contextlib.contextmanager
def open_session(  # noqa: PLR0913 - the settings of `tune`
    config: StudyConfig,
    results: ResultsDir,
    *,
    check: Callable[[StudyConfig, Corpus, SearchSpace], None],
    study_of: Callable[[StudyConfig, Corpus, SearchSpace], optuna.Study],
    workers: Workers | None,
    limits: Limits | None,
    subscribers: Sequence[Subscriber],
    min_texts: int | None = None,
    folds: int | str | None = None,
    keep_going: bool = False,
) -> Iterator[Session]:
    """`check` and `study_of` get the space that its file declares now, the session has the recorded
    space.
    """

    def step(label: str, share: float) -> None:
        for subscriber in subscribers:
            subscriber(Step(label, share))

    folder, workers = results.study(config.study), workers or Workers()
    space_path = find_space(config.space, study=config.study)
    if workers.pool == "process":
        start_server()  # It loads Keras while this process prepares the data.
    notes: list[str] = []
    config, corpus = prepare_search(
        config,
        results=results,
        min_texts=min_texts,
        folds=folds,
        say=notes.append,
        progress=step,
    )
    step("starting the workers", 0.0)
    import_late_modules()  # Before `open_pool`, which waits until the fork server has loaded Keras.
    opened = open_pool(workers, limits or Limits(), log_path=folder.log_path, space=space_path)
    with opened as (pool, pool_limits):
        is_weighted = bool(config.data.weight_column or config.train.class_weight)
        sizes = sizes_of(config, corpus)
        space = declared_space(
            pool, Declare(str(space_path), corpus.target, config.preset, sizes, is_weighted)
        )
        check(config, corpus, space)  # Before the inputs are built, which can take minutes.
        prepare_views(corpus, space, config, progress=step)
        study = study_of(config, corpus, space)
        recorded = recorded_space(folder)
        notes += changed_source(space, recorded, path=space_path)
        with (
            signals() as interrupt,
            contextlib.closing(BackgroundFit(LinearTask.of(config))) as fit,
        ):
            yield Session(
                study=study,
                config=config,
                # The starting points in the file may have changed since the study was created.
                space=recorded,
                space_path=space_path,
                results=results,
                corpus=corpus,
                pool=pool,
                limits=pool_limits,
                fit=fit,
                interrupt=interrupt,
                notes=notes,
                keep_going=keep_going,
                subscribers=subscribers,
            )
