"""Additions to a study in Optuna Dashboard: a note and the learning curves.

The command line passes `annotate` to a search. Plotly is loaded with the first figure, not with
this module.
"""

from __future__ import annotations

import warnings

import optuna

from tuning.confirmation.rounds import Confirmation
from tuning.inputs.data_card import DataCard
from tuning.report.next_ranges import advise
from tuning.report.sentences import verdict
from tuning.results import StudyDir
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import Summary
from tuning.templates import render


def annotate(
    study: optuna.Study,
    summary: Summary,
    *,
    folder: StudyDir,
    card: DataCard,
    space: SearchSpace,
    with_figures: bool = True,
) -> None:
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
