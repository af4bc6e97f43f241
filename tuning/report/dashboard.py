"""Additions to a study in Optuna Dashboard: a note, the learning curves and the confusion
matrices.

A search gets a `DashboardDrawing` from the command line. Plotly is loaded with the first figure,
not with this module.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import optuna
from optuna.artifacts import FileSystemArtifactStore

from tuning.atomic_io import translated, write_text
from tuning.config import StudyConfig, sign
from tuning.confirmation.rounds import Confirmation
from tuning.data.corpus import Corpus
from tuning.data.data_card import DataCard
from tuning.report.next_ranges import advise
from tuning.report.sentences import verdict
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.study.coordinators import FIRST_COORDINATOR
from tuning.study.housekeeping import N_BEST, trim_artifacts
from tuning.study.optuna_internals import storage_of
from tuning.study.summary import Summary
from tuning.study.trials import value_of
from tuning.templates import render
from tuning.text import visible

logger = logging.getLogger(__name__)


def annotate(
    study: optuna.Study,
    summary: Summary,
    *,
    folder: StudyDir,
    card: DataCard,
    space: SearchSpace,
    with_figures: bool = True,
) -> None:
    """Write the study's note and its learning curves into the storage."""
    from optuna_dashboard import save_note, save_plotly_graph_object

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        confirmation = Confirmation.load(folder)
        save_note(study, note(summary, card=card, space=space, confirmation=confirmation))
        if summary.ranked and with_figures:
            from tuning.report.figures import learning_curves

            curves = learning_curves(summary, confirmation)
            save_plotly_graph_object(study, curves, graph_object_id="learning_curves")


def note(
    summary: Summary,
    *,
    card: DataCard,
    space: SearchSpace,
    confirmation: Confirmation | None = None,
) -> str:
    """Return the study's note in Markdown; text from the data and the search space is escaped."""
    counts = [sum(counts) for counts in zip(*card.class_counts.values(), strict=True)]
    return render(
        "tuning.report",
        "note.md",
        verdict=verdict(summary, confirmation),
        advice=[entry.sentence for entry in advise(summary, space, card, confirmation)],
        card=card,
        n_rows=sum(card.n_rows.values()),
        data_name=card.data or "",
        classes=list(zip(card.class_names, counts, strict=True)),
        space=space,
    )


def upload(trial: optuna.Trial, path: Path, *, artifacts_dir: Path) -> None:
    """Attach a file to a running trial."""
    with translated(artifacts_dir):
        artifacts_dir.mkdir(parents=True, exist_ok=True)
        store = FileSystemArtifactStore(str(artifacts_dir))
        optuna.artifacts.upload_artifact(
            artifact_store=store, file_path=str(path), study_or_trial=trial
        )


def confusion_svg(
    matrix: Sequence[Sequence[int]], class_names: Sequence[str], *, title: str
) -> str:
    """Return a confusion matrix as an SVG picture.

    A row is a true class, a column a predicted class; the color of a cell is its share of the row.
    """
    names = class_names or [str(number) for number in range(len(matrix))]
    return render(
        "tuning.report",
        "confusion_matrix.svg",
        title=title,
        names=[visible(str(name)[:16]) for name in names],
        rows=[[(count, count / max(sum(row), 1)) for count in row] for row in matrix],
    )


class DrawnSession(Protocol):
    """The part of a search's session that is drawn."""

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
    """The part of a training's result that is drawn."""

    best_value: float
    confusion: list[list[int]]


class DashboardDrawing:
    """A hook of a search that writes the study's note and learning curves into the storage, and a
    confusion matrix for each of the best trials as an artifact.
    """

    def annotate(
        self, session: DrawnSession, summary: Summary, *, with_figures: bool = True
    ) -> None:
        """Write the note and, once a trial is complete, the learning curves."""
        annotate(
            session.study,
            summary,
            folder=session.folder,
            card=session.corpus.card,
            space=session.space,
            with_figures=with_figures,
        )

    def completed(
        self,
        session: DrawnSession,
        trial: optuna.Trial,
        result: DrawnResult,
        *,
        summary: Summary,
    ) -> None:
        """Store the confusion matrix of a trial that will be among the `N_BEST` best. Optuna
        accepts no artifact after `tell`.
        """
        best, towards = summary.ranked[:N_BEST], sign(session.config.metric)
        if len(best) == N_BEST and towards * result.best_value <= towards * value_of(best[-1]):
            return
        path = session.folder.confusion_path(trial.number)
        title = f"Trial {trial.number}, validation"
        names = session.corpus.card.class_names
        write_text(path, confusion_svg(result.confusion, names, title=title))
        # The Dashboard finds artifacts in the results folder of the machine that created the study.
        if session.coordinator == FIRST_COORDINATOR:
            upload(trial, path, artifacts_dir=session.results.artifacts_dir)
            for removed in trim_artifacts(session.results, storage_of(session.study)):
                logger.info("removed %s: artifacts have a limit", removed)
