"""The note of a study in Optuna Dashboard."""

from __future__ import annotations

from datetime import UTC, datetime

from tuning.confirmation.record import Confirmation
from tuning.inputs.data_card import DataCard
from tuning.report.sentences import verdict
from tuning.search.events import CallEnded, Event, SearchStarted
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import Summary, summarize
from tuning.templates import render


def annotate(event: Event) -> None:
    """Write the note at the start of a search, and at the end of a call."""
    if not isinstance(event, SearchStarted | CallEnded):
        return
    opened = event.opened
    from optuna_dashboard import save_note

    summary = summarize(opened.study, metric=opened.config.metric)
    confirmation = Confirmation.load(opened.folder)
    text = note(summary, card=opened.corpus.card, space=opened.space, confirmation=confirmation)
    save_note(opened.study, text)


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
        # The trials of a running search are newer than the verdict.
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        verdict=verdict(summary, confirmation),
        card=card,
        has_folds=summary.step == "fold",
        n_rows=sum(card.n_rows.values()),
        data_name=card.data or "",
        classes=list(zip(card.class_names, counts, strict=True)),
        space=space,
    )
