"""The page of a comparison: `comparison.html`, a self-contained page with the answer at its top."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuning.atomic_io import write_text
from tuning.comparison.document import Comparison
from tuning.comparison.figures import COSTS, color_of, cost_figure, learning_speed
from tuning.comparison.standings import (
    Ranking,
    Standing,
    rank_spaces,
    standing_of,
    verdict,
)
from tuning.evaluation.statistics import Interval
from tuning.report.html_parts import plot_html
from tuning.report.page import appearance
from tuning.report.tables import flags_of
from tuning.results import ResultsDir, StudyDir
from tuning.spaces.ranges import value_text
from tuning.templates import render

EXPLANATION = (
    "Accuracy is the corrected mean of the best configuration's repeats on fresh seeds, with its"
    " 95 % interval; all spaces are repeated on the same seeds. A difference to the best is the"
    " mean over the seeds that both have, with Student's interval of paired differences. Time is"
    " the duration of one training on one worker; latency is the time for one text without its"
    " tokenization. Everything is measured on the validation split; the test split was not read."
)


@dataclass(frozen=True)
class Row:
    """A space or a reference in the table of the page. The color of a reference is empty."""

    name: str
    color: str
    is_choice: bool
    cells: list[tuple[str, str]]


def read_standings(
    comparison: Comparison, results: ResultsDir, *, storage_url: str
) -> list[Standing]:
    """Return the standing of each space of a comparison, read from its study.

    Raises:
        StudyError: a study is not in the storage.
    """
    return [standing_of(space, results, storage_url=storage_url) for space in comparison.spaces]


def write_page(comparison: Comparison, standings: Sequence[Standing], folder: StudyDir) -> Path:
    """Write `comparison.html` and return its path."""
    write_text(folder.comparison_page_path, page(comparison, standings, name=folder.name))
    return folder.comparison_page_path


def page(comparison: Comparison, standings: Sequence[Standing], *, name: str) -> str:
    """Return the whole page as HTML."""
    ranking = rank_spaces(standings)
    answer, *reasons = verdict(comparison, standings)
    figures = [
        (cost.title, plot_html(cost_figure(cost, standings, comparison.references)))
        for cost in COSTS
        if ranking and any(cost.of(standing) is not None for standing in ranking.ranked)
    ]
    has_curve = any(space.curve for space in comparison.spaces)
    return render(
        "tuning.report",
        "comparison.html",
        comparison=name,
        about=about(comparison),
        answer=answer,
        reasons=reasons,
        rows=rows(comparison, standings, ranking),
        explanation=EXPLANATION,
        figures=figures,
        speed=plot_html(learning_speed(comparison)) if has_curve else None,
        failures=[
            (space.name, space.failure) for space in comparison.spaces if space.failure is not None
        ],
        configurations=[
            (standing.name, standing.trial, _configuration(standing), standing.space.study)
            for standing in standings
            if standing.trial is not None
        ],
        references=[(entry.name, entry.about) for entry in comparison.references],
        command=command(comparison, name=name),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **appearance(),
    )


def about(comparison: Comparison) -> str:
    """Return the spaces, the minutes, the data and the seed of a comparison in one line."""
    n_over = sum(space.is_over for space in comparison.spaces)
    n = len(comparison.spaces)
    state = "" if n_over == n else f", {n_over} of them finished"
    return (
        f"{n} search spaces{state}, {comparison.minutes:g} min each on {comparison.data.data}, seed"
        f" {comparison.seed}"
    )


def rows(
    comparison: Comparison, standings: Sequence[Standing], ranking: Ranking | None
) -> list[Row]:
    """Return the rows of the page's table: the confirmed spaces and the references, best accuracy
    first, then the spaces without a confirmed best.
    """
    colors = {standing.space.study: color_of(number) for number, standing in enumerate(standings)}
    ranked = ranking.ranked if ranking else []
    placed = [
        (standing.accuracy.value, _row(standing, colors[standing.space.study], ranking))
        for standing in ranked
        if standing.accuracy is not None
    ]
    for reference in comparison.references:
        cells = _cells(f"{reference.accuracy:.4f}", "", _seconds(reference.seconds), "", "", "")
        placed.append((reference.accuracy, Row(reference.name, "", False, cells)))
    placed.sort(key=lambda pair: -pair[0])
    others = [standing for standing in standings if standing.accuracy is None]
    return [row for _, row in placed] + [
        _row(standing, colors[standing.space.study], None) for standing in others
    ]


def _row(standing: Standing, color: str, ranking: Ranking | None) -> Row:
    if standing.accuracy is not None:
        accuracy = str(standing.accuracy)
    else:
        value = standing.search_value
        searched = "" if value is None else f", {value:.4f} in the search"
        accuracy = f"{standing.state}{searched}"
    behind = ""
    if ranking is not None:
        is_best = standing is ranking.best
        behind = "best" if is_best else _behind(ranking.behind[standing.space.study])
    cells = _cells(
        accuracy,
        behind,
        _seconds(standing.seconds),
        "" if standing.n_parameters is None else f"{standing.n_parameters:,}",
        "" if standing.latency_ms is None else f"{standing.latency_ms:.2g} ms",
        f"{standing.n_trials:,} in {standing.space.seconds / 60:.3g} min",
    )
    is_choice = ranking is not None and standing in (ranking.smallest, ranking.fastest)
    return Row(standing.name, color, is_choice, cells)


def _cells(*texts: str) -> list[tuple[str, str]]:
    """Return the cells of a row, each with the heading of its column."""
    headings = (
        "validation accuracy",
        "behind the best",
        "training",
        "parameters",
        "latency",
        "trials",
    )
    return [*zip(headings, texts, strict=True)]


def _behind(gap: Interval) -> str:
    """Return a difference to the best; empty if the two spaces have no seed in common."""
    return "" if math.isnan(gap.value) else str(gap)


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3g} s"


def _configuration(standing: Standing) -> str:
    """Return the hyperparameters of a space's best trial in one line."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in standing.values.items())


def command(comparison: Comparison, *, name: str) -> str:
    """Return the command that repeats the comparison."""
    words = ["python", "-m", "tuning", "compare", "--study", name]
    words += ["--spaces", " ".join(space.space for space in comparison.spaces)]
    words += ["--minutes", f"{comparison.minutes:g}", "--seed", str(comparison.seed)]
    words += ["--epochs", str(comparison.epochs)]
    return shlex.join([*words, *flags_of(vars(comparison.data))])
