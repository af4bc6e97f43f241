"""The session of one call of `tune` or `confirm`, and its interruption by the user."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import optuna

from tuning.config import Limits, StudyConfig
from tuning.inputs.corpus import Corpus
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values
from tuning.study.coordinators import FIRST_COORDINATOR
from tuning.study.prepare import sizes_of
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


# Writes a study's note and figures for Optuna Dashboard, as `report.dashboard.annotate` does. The
# caller of a search passes the function, so that a search loads no drawing library.
Drawing = Callable[..., None]


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
    drawing: Drawing | None = None

    @property
    def folder(self) -> StudyDir:
        return self.results.study(self.config.study)

    def draw(self, summary: Summary, *, with_figures: bool = True) -> None:
        """At the start of a search the note alone is written, without figures."""
        if self.drawing is not None:
            self.drawing(
                self.study,
                summary,
                folder=self.folder,
                card=self.corpus.card,
                space=self.space,
                with_figures=with_figures,
            )

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
        target=corpus.target,
        preset=config.preset,
        sizes=sizes_of(config, corpus),
    )
