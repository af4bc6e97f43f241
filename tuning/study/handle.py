"""The handle of a study: its folder, its storage, and what a command reads of them, such as the
status that `status --json` prints.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import optuna

from tuning.commands import of_study, typed
from tuning.config import StudyConfig
from tuning.confirmation.plan import is_over
from tuning.confirmation.record import Confirmation
from tuning.evaluation.linear_reference import LinearReference, LinearTask, read_linear_reference
from tuning.evaluation.scores import TestDocument, read_test_scores
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.spaces.ranges import Values
from tuning.study.lock import LockHolder, holder_of
from tuning.study.storage import close_study
from tuning.study.study import StudyRecord, load_study, read_record, recorded_space
from tuning.study.summary import (
    MIN_COMPLETE,
    Best,
    Summary,
    best_of,
    longer_search,
    summarize,
)
from tuning.study.trials import attributes_of, value_of


@dataclass(frozen=True)
class StudyHandle:
    """A study that exists. Each property is read once: after a search or a confirmation, a new
    handle gives the new trials.

    Attributes:
        moved: the present places of the data that have changed (keys `data`, `data_dir`,
            `validation` and `test`).
    """

    results: ResultsDir
    folder: StudyDir
    storage_url: str
    moved: Mapping[str, Any] = field(default_factory=dict)

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

    @cached_property
    def config(self) -> StudyConfig:
        config = self.record.config
        return replace(config, data=replace(config.data, **self.moved))

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

    @property
    def place(self) -> dict[str, object]:
        """The values with which a command finds the study and its data."""
        return {**of_study(self.folder.path), **self.moved}

    @property
    def confirm_remedy(self) -> str:
        """What confirms the study, or trains further seeds and keeps their predictions. A longer
        search is followed by a confirmation.
        """
        if self.confirmation is None and self.summary.n_confirmable < MIN_COMPLETE:
            return longer_search(self.place)
        confirmation, options = self.confirmation, dict[str, object]()
        if confirmation and is_over(confirmation):
            options["seeds"] = len(confirmation.seeds) + 1
        return f"Type `{typed('confirm', **self.place, **options)}`"

    @cached_property
    def test_scores(self) -> TestDocument | None:
        """The scores of the last export; None before an export."""
        return read_test_scores(self.folder.test_path)

    @cached_property
    def best(self) -> Best | None:
        """The confirmed best, else the best of the search; None before a trial is complete."""
        return best_of(self.summary, self.confirmation)

    @cached_property
    def linear_reference(self) -> LinearReference | None:
        """The linear model of the study's data; None before it has been trained. Confirmed studies
        of earlier versions have the one for the first metric of the kind, without weights.
        """
        folder = self.results.cache_dir(self.record.data_fingerprint)
        task = LinearTask.of(self.config)
        own, is_earlier = read_linear_reference(folder, task), self.confirmation and not task.folds
        return own or (read_linear_reference(folder, LinearTask()) if is_earlier else None)

    @contextlib.contextmanager
    def opened(self) -> Iterator[optuna.Study]:
        study = load_study(self.folder, storage_url=self.storage_url)
        try:
            yield study
        finally:
            close_study(study)


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status of a study for scripts. Values of the best trial and of the baseline are None
    before that trial is complete.

    Attributes:
        kind: what the models predict: classes, labels, order or number.
        split: how rows are split: random, group or time.
        best_mean: the corrected mean of the best trial's repeats on fresh seeds; None without
            repeats.
        linear_model_value: the value of the linear model on the same validation split; None before
            the model has been trained.
        at_work: the process that searches or confirms the study now; None without one.
        n_tokens: number of tokens that all trials have trained on.
    """

    study: str
    metric: str
    kind: str
    split: str
    n_folds: int
    n_complete: int
    n_pruned: int
    n_failed: int
    n_running: int
    n_paused: int
    best_trial: int | None
    best_is_confirmed: bool | None
    best_value: float | None
    best_mean: float | None
    best_params: Values | None
    best_trial_of_the_search: int | None
    baseline_value: float | None
    linear_model_value: float | None
    at_work: LockHolder | None
    seconds_by_phase: dict[str, float]
    overhead_share: float | None
    n_tokens: int
    fingerprints: dict[str, str]


def status_of(study: StudyHandle) -> Status:
    record, summary, best = study.record, study.summary, study.best
    baseline, metric = summary.baseline, summary.metric
    linear = study.linear_reference
    return Status(
        study=study.name,
        metric=metric,
        kind=record.config.data.kind,
        split=record.config.data.split,
        n_folds=record.config.train.n_folds,
        n_complete=summary.counts["complete"],
        n_pruned=summary.counts["pruned"],
        n_failed=summary.counts["fail"],
        n_running=summary.counts["running"] - summary.n_paused,
        n_paused=summary.n_paused,
        best_trial=best.trial.number if best else None,
        best_is_confirmed=best.is_confirmed if best else None,
        best_value=value_of(best.trial) if best else None,
        best_mean=best.mean.value if best and best.mean else None,
        best_params=best.trial.params if best else None,
        best_trial_of_the_search=summary.best.number if summary.best else None,
        baseline_value=value_of(baseline) if baseline else None,
        linear_model_value=linear.value(metric) if linear else None,
        at_work=holder_of(study.folder),
        seconds_by_phase={
            phase: round(seconds, 3) for phase, seconds in summary.seconds_by_phase.items()
        },
        overhead_share=summary.overhead_share,
        n_tokens=sum(attributes_of(t).get("n_tokens", 0) for t in summary.trials),
        fingerprints={"data": record.data_fingerprint, "space": record.space_fingerprint},
    )
