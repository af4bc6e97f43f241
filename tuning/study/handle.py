"""The handle of a study: its folder, its storage, and what a command reads of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import optuna

from tuning.config import StudyConfig
from tuning.confirmation.rounds import Confirmation
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.study.storage import close_study
from tuning.study.study import StudyRecord, load_study, read_record, recorded_space
from tuning.study.summary import Best, Summary, best_of, summarize


@dataclass(frozen=True)
class StudyHandle:
    """A study that exists. Each property is read once: after a search or a confirmation, a new
    handle gives the new trials.
    """

    results: ResultsDir
    folder: StudyDir
    storage_url: str

    @classmethod
    def of(cls, results: ResultsDir, name: str | None, storage: str | None = None) -> Self:
        """Return the handle of the named study, or of the study that was used last."""
        return cls(results, results.existing(name), results.storage_url(storage))

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def record(self) -> StudyRecord:
        return read_record(self.folder)

    @property
    def config(self) -> StudyConfig:
        return self.record.config

    @cached_property
    def space(self) -> SearchSpace:
        return recorded_space(self.folder)

    @cached_property
    def summary(self) -> Summary:
        with self.opened() as study:
            return summarize(study, metric=self.config.metric)

    @cached_property
    def confirmation(self) -> Confirmation | None:
        return Confirmation.load(self.folder)

    @cached_property
    def best(self) -> Best | None:
        """The confirmed best, else the best of the search; None before a trial is complete."""
        return best_of(self.summary, self.confirmation)

    @contextlib.contextmanager
    def opened(self) -> Iterator[optuna.Study]:
        study = load_study(self.results, self.folder, storage_url=self.storage_url)
        try:
            yield study
        finally:
            close_study(study)
