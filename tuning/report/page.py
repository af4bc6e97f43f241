"""`report.html`, one self-contained page that opens offline, and `trials.csv`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import optuna
import plotly.graph_objects as go
import plotly.io
import plotly.offline

from tuning.config import StudyConfig
from tuning.confirmation.estimates import judge
from tuning.confirmation.rounds import Confirmation
from tuning.data.corpus import Corpus
from tuning.data.data_card import DataCard
from tuning.data.prepare import prepare_corpus
from tuning.evaluation.scores import TestDocument, read_test_scores
from tuning.evaluation.statistics import interval_text
from tuning.evaluation.test_split import BEST, named_entries
from tuning.report.figures import report_figures
from tuning.report.html_tables import STYLE, escape, narrow, pairs, table
from tuning.report.next_ranges import advise, declarations
from tuning.report.sentences import comparison, missed_sentences, saved_sentence, verdict
from tuning.report.sentences import rows as finalist_rows
from tuning.report.tables import (
    N_TABLE,
    best_rows,
    clock_sentence,
    counts_sentence,
    data_rows,
    record_rows,
    trial_rows,
    trials_table,
)
from tuning.results import ResultsDir, StudyDir, write_text
from tuning.spaces.loading import SearchSpace
from tuning.study.record import StudyRecord, read_record
from tuning.study.storage import close_study
from tuning.study.study import load_study, recorded_config, recorded_space
from tuning.study.summary import Summary, summarize

TEST_SCORES = ("accuracy", "balanced_accuracy", "f1", "auc", "loss", "expected_calibration_error")

_STYLE = (
    """
:root { color-scheme: light dark; --paper: #fff; --panel: #f3f7fb; --ink: #1d2733; --soft: #5b6775; --line: #dde3ea; --accent: #1f5fa8;
}
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #dfe6ee; --soft: #9aa7b5; --line: #33404d; --accent: #6ea8e0; --paper: #111; --panel: #1c242d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px; font: 15px/1.5 system-ui, sans-serif; }
body { color: var(--ink); background: var(--paper); }
h1 { margin: 0; font-size: 26px; overflow-wrap: anywhere; } h2 { margin: 36px 0 4px; font-size: 19px; }
p { margin: 6px 0 12px; max-width: 75ch; } .soft { color: var(--soft); }
.verdict { border-left: 4px solid var(--accent); padding: 10px 16px; background: var(--panel); font-size: 17px; }
.sortable th { cursor: pointer; } th[aria-sort]::after { content: " ↑"; } th[aria-sort=descending]::after { content: " ↓"; }
pre { padding: 10px 16px; background: var(--panel); overflow-x: auto; }
@media (max-width: 600px) { body { padding: 12px; } h1 { font-size: 21px; } .verdict { font-size: 15px; } }
@media print { .plotly .modebar { display: none; } h2 { break-after: avoid; } }
"""
    + STYLE
)

# A click on a header sorts the rows by that column, as numbers where all of it are, and the other
# way round the next time.
_SORT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((th, column) => th.addEventListener("click", () => {
    const body = table.tBodies[0], up = th.getAttribute("aria-sort") !== "ascending";
    const key = row => row.cells[column].textContent;
    const numeric = [...body.rows].every(row => key(row) === "" || !isNaN(key(row)));
    const compare = (a, b) => numeric ? key(a) - key(b) : key(a).localeCompare(key(b));
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...[...body.rows].sort((a, b) => up ? compare(a, b) : compare(b, a)));
  }));
}
"""

# Plots are drawn light; where the reader's screen is dark they are given Plotly's dark template,
# and back for print.
_THEME = """
const dark = matchMedia("screen and (prefers-color-scheme: dark)");
const paint = () => document.querySelectorAll(".js-plotly-plot").forEach(plot =>
  Plotly.relayout(plot, {template: dark.matches ? DARK : LIGHT}));
if (dark.matches) addEventListener("load", paint);
dark.addEventListener("change", paint);
"""


def write_report(results: ResultsDir, folder: StudyDir, *, storage_url: str) -> tuple[Path, Path]:
    """Write the page and `trials.csv` of a study; returns their paths.

    Raises:
        StudyError: no trial is complete.
    """
    config, space = recorded_config(folder), recorded_space(folder)
    study = load_study(results, folder, storage_url=storage_url)
    summary = summarize(study, metric=config.metric)
    summary.require_complete("a report")
    record = read_record(folder)
    cache = Corpus(results.cache_dir(record.data_fingerprint))
    card = cache.card if cache.is_written else prepare_corpus(config, results=results)[0].card
    write_text(
        folder.trials_csv_path, trials_table(summary).to_csv(index=False, lineterminator="\n")
    )
    write_text(
        folder.report_path,
        page(study, summary, config=config, space=space, folder=folder, record=record, card=card),
    )
    close_study(study)
    return folder.report_path, folder.trials_csv_path


def page(
    study: optuna.Study,
    summary: Summary,
    *,
    config: StudyConfig,
    space: SearchSpace,
    folder: StudyDir,
    record: StudyRecord,
    card: DataCard,
) -> str:
    """The whole page; Plotly's script is in it once."""
    found = Confirmation.load(folder)
    plots = []
    for title, sentence, figure in report_figures(study, summary, space, found):
        if title == "Cost":
            plots += advice_sections(summary, space, card, found)
        plots.append(
            f"<h2>{escape(title)}</h2><p class=soft>{escape(sentence)}</p>{_drawing(figure)}"
        )
    seen = read_test_scores(folder.test_path)
    names = list(dict.fromkeys(item.name for item in space.searched))
    sections = [
        f"<h1>{escape(summary.study)}</h1>",
        (
            f"<p class=soft>{escape(space.name)} on {escape(config.data.data)}, objective"
            f" {escape(config.metric)}</p>"
        ),
        f"<p class=verdict>{escape(verdict(summary, found))}</p>",
        *confirmation_sections(found),
        *look_sections(seen),
        f"<h2>The best {min(N_TABLE, len(summary.ranked))} of the search and the baseline</h2>",
        table(*narrow(*best_rows(summary, space, found), names)),
        *plots,
        f"<p>{escape(counts_sentence(summary))} {escape(clock_sentence(summary))}</p>",
        *pruning_sections(summary, found, epochs=config.train.epochs),
        "<h2>Every trial</h2><p class=soft>A click on a column's name sorts by it.</p>",
        table(*narrow(*trial_rows(summary, space), names), kind="sortable"),
        *mistake_sections(seen),
        "<h2>Data</h2>",
        pairs(data_rows(card)),
        "<h2>How to make it again</h2>",
        pairs(record_rows(config, record, n_trials=summary.n_finished), fold=False),
    ]
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport"
        " content='width=device-width,"
        f" initial-scale=1'><title>{escape(summary.study)}</title><style>{_STYLE}</style><script>{plotly.offline.get_plotlyjs()}</script></head><body>{''.join(sections)}<p"
        " class=soft>Written"
        f" {made}.</p><script>{_SORT}</script><script>{_themes()}{_THEME}</script></body></html>\n"
    )


def _drawing(figure: go.Figure | None) -> str:
    """A figure as HTML that uses the page's one copy of Plotly's script; empty where the study has
    too few trials for the figure.
    """
    if figure is None:
        return ""
    body = plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        full_html=False,
        config={"responsive": True, "displaylogo": False},
    )
    return f"<div class=plot>{body}</div>"


def _themes() -> str:
    """Plotly's light and dark templates as JavaScript."""
    found = {
        name: plotly.io.templates[template].to_plotly_json()
        for name, template in (("LIGHT", "plotly_white"), ("DARK", "plotly_dark"))
    }
    return "".join(f"const {name} = {json.dumps(template)};" for name, template in found.items())


def advice_sections(
    summary: Summary, space: SearchSpace, card: DataCard, found: Confirmation | None
) -> list[str]:
    """What to search next, in words and as declarations to paste."""
    advice = advise(summary, space, card, found)
    if not advice:
        return [
            "<h2>What to try next</h2><p>No best value lies near a bound, and the data fill every"
            " range.</p>"
        ]
    lines = "".join(f"<li>{escape(one.sentence)}</li>" for one in advice)
    paste = "As new ranges, for <code>declare_hyperparameters</code> of a search space of its own:"
    return [
        "<h2>What to try"
        f" next</h2><ul>{lines}</ul><p>{paste}</p><pre>{escape(declarations(advice))}</pre>"
    ]


def confirmation_sections(found: Confirmation | None) -> list[str]:
    """The finalists and their repeats."""
    judgement = judge(found) if found else None
    if found is None or judgement is None:
        return [
            "<h2>Is it real?</h2><p>Not confirmed yet. <code>make confirm</code> trains the best"
            " again on fresh seeds.</p>"
        ]
    note = (
        "Means are drawn towards the mean of all finalists by what chance explains. "
        "95 % intervals, the variance pooled over the finalists; "
        "that of the difference to the baseline allows for the number of finalists (Dunnett)."
    )
    header, rows = finalist_rows(found, judgement)
    seeds = [name for name in header if name.startswith("seed ")]
    return [
        "<h2>Is it real?</h2>",
        table(*narrow(header, rows, seeds)),
        f"<p class=soft>{note}</p>",
    ]


def pruning_sections(summary: Summary, found: Confirmation | None, *, epochs: int) -> list[str]:
    """What pruning saved, and what it may have missed."""
    saved, judgement = saved_sentence(summary, epochs=epochs), judge(found) if found else None
    if not saved:
        return []
    missed = missed_sentences(found, judgement) if found and judgement else []
    unknown = (
        "What it may have missed is not known: no pruned trial was trained to the end (make confirm"
        " PRUNED=5 SHARE=1 does)."
    )
    return [f"<p>{escape(saved)} {escape(' '.join(missed) or unknown)}</p>"]


def look_sections(seen: TestDocument | None) -> list[str]:
    """What the look at the test split said, where one has been taken."""
    title = "<h2>The test split</h2>"
    if seen is None:
        return [
            title,
            (
                "<p>Not looked at yet. <code>make export-best</code> does, for the best, the"
                " baseline and the references at once.</p>"
            ),
        ]
    rows = [
        [
            name,
            *(interval_text(*one.interval(score)) for score in TEST_SCORES),
        ]
        for name, one in named_entries(seen).items()
    ]
    n = len(seen.test_looks)
    looks = f"Looked at {'once' if n == 1 else f'{n} times'}: " + ", ".join(
        look.when for look in seen.test_looks
    )
    return [
        title,
        "".join(
            f"<p>{escape(comparison(name, found, trial=seen.scores[BEST].trial))}</p>"
            for name, found in seen.comparisons.items()
        ),
        table(["model", *(score.replace("_", " ") for score in TEST_SCORES)], rows),
        f"<p class=soft>95 % intervals of the bootstrap over the texts. {escape(looks)}.</p>",
    ]


def mistake_sections(seen: TestDocument | None) -> list[str]:
    """The best model's surest mistakes on the test split, where it has been looked at."""
    if seen is None:
        return []
    rows = [[m.label, m.predicted, f"{m.probability:.3f}", m.text] for m in seen.mistakes]
    return [
        (
            "<h2>The surest mistakes</h2><p class=soft>Texts of the test split that the exported"
            " model got wrong, the surest first.</p>"
        ),
        table(["class", "predicted", "probability", "text"], rows, kind="texts"),
    ]
