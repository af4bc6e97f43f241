"""The session of one call of `tune` or `confirm`, and its interruption by the user."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

import optuna

from tuning.config import Limits, StudyConfig
from tuning.data.corpus import Corpus
from tuning.data.files import Progress
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.files import find_space
from tuning.spaces.loading import SearchSpace, require_same_space
from tuning.spaces.ranges import Values
from tuning.study.coordinators import FIRST_COORDINATOR
from tuning.study.prepare import prepare_corpus, prepare_views, require_same_data, sizes_of
from tuning.study.samplers import grid_points
from tuning.study.study import read_record
from tuning.study.summary import Summary
from tuning.workers.messages import Train, train_request
from tuning.workers.pool import AnyPool, declared_space


@dataclass
class Interrupt:
    requested: bool = False


@contextlib.contextmanager
def signals() -> Iterator[Interrupt]:
    """Set the `Interrupt` at the first Ctrl-C or SIGTERM; raise KeyboardInterrupt at the second.

    The first signal therefore takes effect between two writes to the storage, never during a write.
    Outside the main thread, as in a web application, Python allows no handlers and no signal ends
    the call.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class Drawing(Protocol):
    """Figures and notes of a study for Optuna Dashboard.

    The caller of a search passes the object, so that a search loads no drawing library.
    """

    def annotate(self, session: Session, summary: Summary, *, with_figures: bool = True) -> None:
        """Write the study's note and figures; at the start of a search the note alone."""


class NoDrawing:
    """A `Drawing` that draws nothing."""

    def annotate(self, session: Session, summary: Summary, *, with_figures: bool = True) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Session:
    study: optuna.Study
    config: StudyConfig
    space: SearchSpace
    space_path: Path
    results: ResultsDir
    corpus: Corpus
    pool: AnyPool
    limits: Limits
    interrupt: Interrupt
    coordinator: str = FIRST_COORDINATOR
    keep_going: bool = False
    drawing: Drawing = field(default_factory=NoDrawing)

    @property
    def folder(self) -> StudyDir:
        return self.results.study(self.config.study)

    def train_request(self, values: Values) -> Train:
        return train_request(
            self.config,
            values,
            space=self.space,
            space_path=self.space_path,
            corpus=self.corpus,
        )


def space_of_file(pool: AnyPool, path: Path, config: StudyConfig, corpus: Corpus) -> SearchSpace:
    return declared_space(
        pool,
        path,
        n_classes=len(corpus.card.class_names),
        preset=config.preset,
        sizes=sizes_of(config, corpus),
    )


def searched_corpus(
    config: StudyConfig, space: SearchSpace, results: ResultsDir, progress: Progress | None
) -> Corpus:
    corpus, _ = prepare_corpus(config, results=results, progress=progress)
    fingerprint = read_record(results.study(config.study)).data_fingerprint
    require_same_data(corpus, config, fingerprint=fingerprint, doing="A confirmation")
    prepare_views(corpus, space, config, progress=progress)
    if progress:
        progress("starting the workers", 0.0)
    return corpus


def same_space(pool: AnyPool, config: StudyConfig, space: SearchSpace, corpus: Corpus) -> Path:
    path = find_space(config.space)
    declared = space_of_file(pool, path, config, corpus)
    require_same_space(declared, space, path=path, doing="A confirmation")
    return path


def prepare_space(
    pool: AnyPool, path: Path, config: StudyConfig, corpus: Corpus, progress: Progress | None
) -> SearchSpace:
    space = space_of_file(pool, path, config, corpus)
    if config.sampler == "grid":
        grid_points(space, seed=config.seed)
    prepare_views(corpus, space, config, progress=progress)
    return space
