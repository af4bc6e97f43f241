"""The interface of trackers, and the writing of a study to a tracker."""

from __future__ import annotations

from typing import Protocol

import optuna

from tuning.results import ResultsDir, StudyDir
from tuning.study.record import StudyRecord, read_record
from tuning.study.storage import close_study
from tuning.study.study import load_study, recorded_space
from tuning.study.summary import summarize
from tuning.trackers.contents import (
    TrackedStudy,
    TrackedTrial,
    tracked_study,
    tracked_trial,
)


class Tracker(Protocol):
    """A place to which a study is written. Each method may raise any exception of its package.

    A second call with the same study or trial replaces the earlier content, or leaves it unchanged.
    """

    def write_study(self, study: TrackedStudy, *, is_last: bool) -> None:
        """Write a study without its trials. This method is called before the first trial, and with
        `is_last` before the process ends.
        """

    def write_trial(self, study: TrackedStudy, trial: TrackedTrial) -> None:
        """Write a trial, which may be open."""

    def close(self) -> None:
        """Write buffered content, and end the processes of the package."""


class StudyWriting:
    """A study and a tracker, to which each call of `write` writes the changes of the study."""

    def __init__(
        self, results: ResultsDir, folder: StudyDir, *, storage_url: str, tracker: Tracker
    ) -> None:
        self._folder, self._tracker = folder, tracker
        self._record: StudyRecord = read_record(folder)
        self._space = recorded_space(folder)
        self._study: optuna.Study = load_study(results, folder, storage_url=storage_url)
        self._closed: set[int] = set()  # Trials that are written and can't change any more.
        self._written: dict[int, str] = {}  # Fingerprints of the open trials.
        self._study_written = ""

    def write(self, *, is_last: bool = False) -> None:
        """Write the changes since the last call."""
        metric = self._record.config.metric
        summary = summarize(self._study, metric=metric)
        study = tracked_study(self._record, summary, self._folder)
        if not self._study_written:
            self._tracker.write_study(study, is_last=False)
        for frozen in summary.trials:
            if frozen.number in self._closed:
                continue
            trial = tracked_trial(frozen, self._space, self._folder, metric=metric)
            if trial is None:
                continue
            if self._written.get(trial.number) != trial.fingerprint:
                self._tracker.write_trial(study, trial)
                self._written[trial.number] = trial.fingerprint
            if not trial.is_open:
                self._closed.add(trial.number)
                del self._written[trial.number]
        if is_last or self._study_written not in ("", study.fingerprint):
            self._tracker.write_study(study, is_last=is_last)
        self._study_written = study.fingerprint

    def close(self) -> None:
        """Close the tracker and the connections to the storage."""
        try:
            self._tracker.close()
        finally:
            close_study(self._study)
