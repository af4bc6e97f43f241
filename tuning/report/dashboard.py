"""What Optuna Dashboard shows of a study beyond its trials: a note, the learning curves and the
confusion matrices.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna_dashboard import save_note, save_plotly_graph_object

from tuning.confirmation.rounds import Confirmation
from tuning.report.figures import learning_curves
from tuning.report.next_ranges import advise
from tuning.report.sentences import verdict
from tuning.results import StudyDir, translated, visible
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import Summary
from tuning.templates import render


def annotate(
    study: optuna.Study,
    summary: Summary,
    *,
    folder: StudyDir,
    card: dict[str, Any],
    space: SearchSpace,
) -> None:
    """Write the study's note and its learning curves into the storage."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        confirmation = Confirmation.load(folder)
        save_note(study, note(summary, card=card, space=space, confirmation=confirmation))
        if summary.ranked:
            save_plotly_graph_object(
                study, learning_curves(summary, confirmation), graph_object_id="learning_curves"
            )


def note(
    summary: Summary,
    *,
    card: dict[str, Any],
    space: SearchSpace,
    confirmation: Confirmation | None = None,
) -> str:
    """Return the study's note in Markdown; text from the data and the search space is escaped."""
    counts = [sum(counts) for counts in zip(*card["class_counts"].values(), strict=True)]
    return render(
        "tuning.report",
        "note.md",
        verdict=verdict(summary, confirmation),
        advice=[entry.sentence for entry in advise(summary, space, card, confirmation)],
        card=card,
        n_rows=sum(card["n_rows"].values()),
        data_name=card.get("data", ""),
        classes=list(zip(card["class_names"], counts, strict=True)),
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

    A row is a true class, a column a predicted class; the colour of a cell is its share of the row.
    """
    names = class_names or [str(number) for number in range(len(matrix))]
    return render(
        "tuning.report",
        "confusion_matrix.svg",
        title=title,
        names=[visible(str(name)[:16]) for name in names],
        rows=[[(count, count / max(sum(row), 1)) for count in row] for row in matrix],
    )
