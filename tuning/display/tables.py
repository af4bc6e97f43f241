"""Tables and sentences about a search, a confirmation, an export, the data and files."""

from __future__ import annotations

import html
import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from tuning.commands import of_study, repeated, typed
from tuning.config import MAX_TRIALS
from tuning.display.console import console, print_texts, printable
from tuning.metrics import metric_of
from tuning.outcomes import SearchEnd
from tuning.results import StudyDir
from tuning.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from tuning.confirmation.record import Confirmation
    from tuning.export.manifest import FullManifest
    from tuning.inputs.data_card import DataCard
    from tuning.report.spaces import SpaceResult
    from tuning.search.events import Outcome
    from tuning.spaces.loading import SearchSpace
    from tuning.study.summary import Summary

# Columns of the table of formats that only the model card has: a terminal is too narrow.
CARD_ONLY_COLUMNS = ("input", "needs")
# Maximum number of trials in the table of a study in a notebook.
N_ROWS = 20


def print_outcome(outcome: Outcome, confirmation: Confirmation | None) -> None:
    from tuning.report.sentences import verdict

    summary = outcome.summary
    ended = {
        SearchEnd.FINISHED: f"All {summary.n_finished} trials are finished.",
        SearchEnd.TIMEOUT: "The time limit is reached"
        + ("." if outcome.n_trials == MAX_TRIALS else f"; {repeated()} continues the search."),
        SearchEnd.INTERRUPTED: f"Interrupted; {repeated()} continues the search.",
        SearchEnd.EXHAUSTED: "The sampler has proposed all of its configurations.",
    }[outcome.ended]
    print_texts(ended)
    if summary.best is not None:
        console.print(best_table(summary, outcome.space, confirmation))
    print_texts(verdict(summary))


def print_confirmation(confirmation: Confirmation, *, study: str) -> None:
    from tuning.confirmation.estimates import estimate
    from tuning.confirmation.plan import is_over
    from tuning.report.confirmation import finalist_rows, sentences

    estimates = estimate(confirmation)
    if estimates is None:
        if is_over(confirmation):
            print_texts(_nothing_confirmed(confirmation, study))
        return
    header, cells = finalist_rows(estimates)
    splits = " and splits" if confirmation.is_resplit else ", the same splits"
    # The trial's column may be wrapped: names of starting points would leave no room for numbers.
    title = f"The confirmation: fresh seeds{splits}"
    console.print(_table(title, header, cells, whole=["corrected mean"]))
    print_texts(*sentences(estimates, study=study))


def print_spaces(spaces: Sequence[SpaceResult]) -> None:
    from tuning.report.spaces import space_rows, verdict

    header, rows = space_rows(spaces)
    if rows:
        whole = {header[0], *(name for name in header if "mean" in name)}
        console.print(_table("The search spaces, best first", header, rows, whole=whole))
    print_texts(verdict(spaces))


def _table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Container[str] = (),
    whole: Container[str] = (),
) -> Table:
    """`title` is rich markup. Columns `left` are aligned left, and `whole` are never wrapped."""
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(
            escape(name),
            justify="left" if name in left else "right",
            no_wrap=name in whole,
            overflow="ellipsis" if name in whole else "fold",
        )
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _nothing_confirmed(confirmation: Confirmation, study: str) -> str:
    failed = [
        f"trial {finalist.trial}: {', '.join(dict.fromkeys(finalist.failures.values()))}"
        for finalist in confirmation.finalists
        if finalist.failures
    ]
    return (
        f"Nothing is confirmed, because trainings failed ({'; '.join(failed)})."
        f" `{typed('confirm', study=study)}` trains them again where the cause may be gone, such as"
        " a time limit or too little memory."
    )


def print_test_scores(manifest: FullManifest) -> None:
    from tuning.evaluation.scores import ModelScores
    from tuning.evaluation.statistics import interval_text, value_text
    from tuning.evaluation.test_split import named_entries
    from tuning.report.sentences import export_sentences

    first, listed = metric_of(manifest.metric), manifest.target.listed_metrics(manifest.metric)
    others = [metric for metric in listed if metric.is_brief and metric != first]
    rows = []
    for name, model in named_entries(manifest).items():
        epochs = f"{model.epochs:g}" if isinstance(model, ModelScores) else ""
        values = (value_text(*model.interval(metric.name)) for metric in others)
        rows.append([name, epochs, interval_text(*model.interval(first.name)), *values])
    title = f"Test split, {manifest.n_rows['test']:,} texts, 95 % intervals"
    header = ["model", "epochs", first.label, *(metric.label for metric in others)]
    console.print(_table(title, header, rows, left=["model"], whole=[first.label]))
    print_texts(*export_sentences(manifest, manifest.metric))
    if len(manifest.test_looks) > 1:
        earlier = ", ".join(evaluation.when for evaluation in manifest.test_looks[:-1])
        print_texts(
            f"This is evaluation number {len(manifest.test_looks)} on the test split by this study."
            " Choosing after repeated evaluations makes the scores too good; earlier:"
            f" {earlier}."
        )


def print_formats(manifest: FullManifest, folder: StudyDir) -> None:
    from tuning.export.model_card import FORMAT_COLUMNS, format_rows

    title = f"{folder.best_dir}/, compared on {manifest.n_parity_texts:,} texts"
    shown = [n for n, column in enumerate(FORMAT_COLUMNS) if column not in CARD_ONLY_COLUMNS]
    header, *rows = ([row[n] for n in shown] for row in (FORMAT_COLUMNS, *format_rows(manifest)))
    console.print(_table(escape(title), header, rows, left=header[:1], whole=header))
    print_texts(*(f"{name} left out: {reason}" for name, reason in manifest.left_out.items()))
    print_texts(*manifest.limits)


def print_next(folder: Path, *commands: str) -> None:
    print_texts("Next:")
    for command in commands:
        text = "I love it" if command == "predict" else None
        print_texts(f"  {typed(command, **of_study(folder), text=text)}")


def best_table(
    summary: Summary, space: SearchSpace, confirmation: Confirmation | None = None
) -> Table:
    """Return a table of the best trials and the baseline."""
    from tuning.report.tables import N_TABLE, best_rows

    header, rows = best_rows(summary, space, confirmation, n_front=N_TABLE)
    n_front = len(summary.front) if summary.has_costs else 0
    front = f"{N_TABLE} of the {n_front} trials on the Pareto front"
    which = front if n_front > N_TABLE else "The best of the search"
    title = f"{which}, of {counted(summary.n_finished, 'finished trial')}"
    # One column for each trial: a terminal has room for five trials, but not for any number of
    # hyperparameters beside each other.
    labels, *cells = zip(header, *rows, strict=True)
    # Many hyperparameters of a space belong to architectures that none of these trials has.
    cells = [line for line in cells if any(line[1:])]
    return _table(title, labels, cells, left=labels[:1], whole=labels[:1])


def card_table(card: DataCard) -> Table:
    from tuning.report.tables import data_rows

    table = Table(title="Data", title_justify="left", show_header=False)
    # A path below the current folder is shown without that folder.
    near = (card.data or "").removeprefix(f"{Path.cwd()}{os.sep}")
    for name, value in data_rows(replace(card, data=near)):
        table.add_row(name, escape(printable(value, 400)))
    return table


def space_table(title: str, space: SearchSpace) -> Table:
    """Return a table of the hyperparameters; `title` is rich markup."""
    rows = []
    for item in space.hyperparameters:
        where = ", ".join(
            f"{parent} is {' or '.join(map(str, allowed))}" for parent, allowed in item.conditions
        )
        rows.append([item.name, item.range_text(), str(item.default), where])
    header = ["hyperparameter", "range", "default", "only where"]
    return _table(title, header, rows, left=header)


def study_html(
    name: str, summary: Summary, space: SearchSpace, confirmation: Confirmation | None
) -> str:
    import pandas as pd

    from tuning.report.sentences import verdict
    from tuning.report.tables import trial_rows

    header, rows = trial_rows(summary, space)
    text = verdict(summary, confirmation) if summary.best else "No trial is complete."
    return frame_html(name, text, pd.DataFrame(rows, columns=header))


def frame_html(name: str, verdict: str, rows: pd.DataFrame) -> str:
    cells = rows.astype(object).where(rows.notna(), "")
    table = cells.to_html(index=False, max_rows=N_ROWS, float_format="{:.4g}".format)
    # pandas escapes the cells.
    return f"<p><b>{html.escape(name)}</b></p>\n<p>{html.escape(verdict)}</p>\n{table}"
