"""What a search has drawn of its study for Optuna Dashboard.

The search gets a `DashboardDrawing` from the command line. Drawing libraries are loaded with the
first drawing, not with this module.
"""

from __future__ import annotations

import logging
from typing import Protocol

import optuna

from tuning.config import StudyConfig, sign
from tuning.data.corpus import Corpus
from tuning.results import ResultsDir, StudyDir, write_text
from tuning.spaces.loading import SearchSpace
from tuning.study.coordinators import FIRST_COORDINATOR
from tuning.study.housekeeping import N_BEST, trim_artifacts
from tuning.study.optuna_internals import storage_of
from tuning.study.summary import Summary
from tuning.study.trials import value_of

logger = logging.getLogger(__name__)


class DrawnSession(Protocol):
    """What is drawn of a search's session."""

    @property
    def study(self) -> optuna.Study: ...
    @property
    def config(self) -> StudyConfig: ...
    @property
    def space(self) -> SearchSpace: ...
    @property
    def corpus(self) -> Corpus: ...
    @property
    def results(self) -> ResultsDir: ...
    @property
    def folder(self) -> StudyDir: ...
    @property
    def coordinator(self) -> str: ...


class DrawnResult(Protocol):
    """What is drawn of a training's result."""

    best_value: float
    confusion: list[list[int]]


class DashboardDrawing:
    """Writes the study's note and learning curves into the storage, and a confusion matrix for
    each of the best trials as an artifact.
    """

    def annotate(self, session: DrawnSession, summary: Summary) -> None:
        """Write the note and, once a trial is complete, the learning curves."""
        from tuning.report.dashboard import annotate

        annotate(
            session.study,
            summary,
            folder=session.folder,
            card=session.corpus.card,
            space=session.space,
        )

    def completed(
        self,
        session: DrawnSession,
        trial: optuna.Trial,
        result: DrawnResult,
        *,
        summary: Summary,
    ) -> None:
        """Keep the confusion matrix of a trial that will be among the `N_BEST` best. Optuna takes
        no artifact after `tell`.
        """
        best, towards = summary.ranked[:N_BEST], sign(session.config.metric)
        if len(best) == N_BEST and towards * result.best_value <= towards * value_of(best[-1]):
            return
        from tuning.report.dashboard import confusion_svg, upload

        path = session.folder.confusion_path(trial.number)
        title = f"Trial {trial.number}, validation"
        names = session.corpus.card["class_names"]
        write_text(path, confusion_svg(result.confusion, names, title=title))
        # The Dashboard finds artifacts in the results folder of the machine that created the study.
        if session.coordinator == FIRST_COORDINATOR:
            upload(trial, path, artifacts_dir=session.results.artifacts_dir)
            for removed in trim_artifacts(session.results, storage_of(session.study)):
                logger.info("removed %s: artifacts have a limit", removed)
