"""`report.html`, one self-contained page that opens offline, and `trials.csv`."""

from __future__ import annotations

import dataclasses
import html
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import plotly.io
import plotly.offline

from tuning.config import SPLITS, StudyConfig
from tuning.corpus import prepare_corpus
from tuning.figures import near_bounds, report_figures, verdict
from tuning.hyperparameters import value_text
from tuning.results import ResultsDir, StudyDir, read_json, write_text
from tuning.spaces import SearchSpace
from tuning.study import close_study, load_study, recorded_config, recorded_space
from tuning.summary import PHASES, Summary, summarize, value_of, values_of

N_TABLE = 5

_STYLE = """
:root { color-scheme: light; --ink: #1d2733; --soft: #5b6775; --line: #dde3ea; --accent: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; }
h1 { margin: 0; font-size: 26px; overflow-wrap: anywhere; } h2 { margin: 36px 0 4px; font-size: 19px; }
p { margin: 6px 0 12px; max-width: 75ch; } .soft { color: var(--soft); }
.verdict { border-left: 4px solid var(--accent); padding: 10px 16px; background: #f3f7fb; font-size: 17px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
.pairs td { white-space: normal; overflow-wrap: anywhere; vertical-align: top; } .pairs td:first-child { white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
@media print { .plotly .modebar { display: none; } h2 { break-after: avoid; } }
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
    record = read_json(folder.config_path)
    card_path = results.cache_dir(record["data_fingerprint"]) / "data_card.json"
    card = read_json(card_path) if card_path.exists() else prepare_corpus(config, results=results)[0].card
    write_text(folder.trials_csv_path, trials_table(summary).to_csv(index=False, lineterminator="\n"))
    write_text(folder.report_path, page(study, summary, config=config, space=space, folder=folder, record=record, card=card))
    close_study(study)
    return folder.report_path, folder.trials_csv_path


def trials_table(summary: Summary) -> pd.DataFrame:
    """One row a trial: number, state, value, hyperparameters, then its attributes, seconds by phase spread out."""
    rows = []
    for trial in summary.trials:
        attributes = {k: v for k, v in trial.user_attrs.items() if k != "seconds"}
        seconds = {f"{phase}_seconds": trial.user_attrs.get("seconds", {}).get(phase) for phase in PHASES}
        rows.append({"number": trial.number, "state": trial.state.name, "value": trial.value, **trial.params, **attributes, **seconds})
    return pd.DataFrame(rows)


def page(
    study: optuna.Study,
    summary: Summary,
    *,
    config: StudyConfig,
    space: SearchSpace,
    folder: StudyDir,
    record: dict[str, Any],
    card: dict[str, Any],
) -> str:
    """The whole page; Plotly's script is in it once."""
    plots = []
    for title, sentence, figure in report_figures(study, summary, folder, space):
        body = plotly.io.to_html(figure, include_plotlyjs=False, full_html=False, config={"responsive": True, "displaylogo": False})
        plots.append(f"<h2>{_e(title)}</h2><p class=soft>{_e(sentence)}</p><div class=plot>{body}</div>")
    bounds = "".join(f"<li>{_e(line)}</li>" for line in near_bounds(summary, space))
    sections = [
        f"<h1>{_e(summary.study)}</h1><p class=soft>{_e(space.name)} on {_e(config.data.data)}, objective {_e(config.metric)}</p>",
        f"<p class=verdict>{_e(verdict(summary))}</p>",
        f"<ul>{bounds}</ul>" if bounds else "",
        f"<h2>The best {min(N_TABLE, len(summary.ranked))} and the baseline</h2>",
        table(*best_rows(summary, space)),
        *plots,
        "<h2>Trials</h2>",
        f"<p>{_e(counts_sentence(summary))} {_e(clock_sentence(summary))}</p>",
        "<h2>Data</h2>",
        pairs(data_rows(card)),
        "<h2>How to make it again</h2>",
        pairs(record_rows(config, record, n_trials=summary.n_finished)),
    ]
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{_e(summary.study)}</title><style>{_STYLE}</style><script>{plotly.offline.get_plotlyjs()}</script></head><body>"
        f"{''.join(sections)}<p class=soft>Written {made}.</p></body></html>\n"
    )


def best_rows(summary: Summary, space: SearchSpace) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the best five trials, the baseline last where it is not among them."""
    names = list(dict.fromkeys(i.name for i in space.searched))
    shown = summary.ranked[:N_TABLE]
    if summary.baseline and summary.baseline not in shown:
        shown = [*shown, summary.baseline]
    rows = []
    for trial in shown:
        label = f"{trial.number} (baseline)" if trial is summary.baseline else str(trial.number)
        found = values_of(trial, space)
        values = [value_text(found.get(name)) for name in names]
        rows.append(
            [label, f"{value_of(trial):.4f}", *values, value_text(trial.user_attrs.get("best_epoch")), f"{trial_seconds(trial):.0f}"]
        )
    return ["trial", summary.metric, *names, "best epoch", "seconds"], rows


def trial_seconds(trial: optuna.trial.FrozenTrial) -> float:
    """Wall seconds of one trial, all phases."""
    return float(sum(seconds for phase, seconds in trial.user_attrs.get("seconds", {}).items() if phase != "storage"))


def counts_sentence(summary: Summary) -> str:
    """How many trials completed, were pruned, failed and why."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(summary.failures.items()))
    return (
        f"{summary.counts['complete']} complete, {summary.counts['pruned']} pruned, {summary.counts['fail']} failed"
        f"{f' ({reasons})' if reasons else ''}, {summary.counts['running'] - summary.n_paused} running, {summary.n_paused} paused."
    )


def clock_sentence(summary: Summary) -> str:
    """Where the workers' seconds went."""
    seconds = ", ".join(f"{phase.replace('_', ' ')} {value:.1f}" for phase, value in summary.seconds_by_phase.items())
    share = "" if summary.overhead_share is None else f" {summary.overhead_share:.1%} of the workers' time was neither train nor evaluate."
    return f"Seconds by phase, all trials: {seconds} (storage is the coordinator's).{share}"


def data_rows(card: dict[str, Any]) -> list[tuple[str, str]]:
    """The data card as pairs of text."""
    totals = [sum(counts) for counts in zip(*card["class_counts"].values(), strict=True)]
    n_rows = sum(card["n_rows"].values())
    dropped = [f"{n:,} rows {why}" for why, n in card.get("dropped", {}).items()]
    if card.get("n_broken_lines"):
        dropped.append(f"{card['n_broken_lines']:,} broken lines, the first {card['broken_lines'][0]}")
    return [
        ("source", f"{card.get('data', '')}, columns {card.get('text_column', '')} and {card.get('label_column', '')}"),
        ("rows", f"{n_rows:,}: " + ", ".join(f"{name} {card['n_rows'][name]:,}" for name in SPLITS)),
        ("classes", ", ".join(f"{name} {n:,} ({n / n_rows:.1%})" for name, n in zip(card["class_names"], totals, strict=True))),
        ("left out", "; ".join(dropped) or "nothing"),
        ("tokens a text", ", ".join(f"{p}% {n:,}" for p, n in _by_size(card["length_percentiles"]))),
        ("words", f"{card['n_words']:,} different ones in the training split"),
        ("unknown tokens", ", ".join(f"{share:.1%} with {int(size):,} rows" for size, share in _by_size(card["unknown_share"]))),
        ("duplicates", f"{card['n_duplicates']:,} further copies of texts, each in the split of the first"),
        ("fingerprint", card["fingerprint"]),
    ]


def record_rows(config: StudyConfig, record: dict[str, Any], *, n_trials: int) -> list[tuple[str, str]]:
    """What is needed to make the study again, as pairs of text."""
    flags = {"study": config.study, "space": config.space, "metric": config.metric, "seed": config.seed, "sampler": config.sampler}
    flags |= {"pruner": config.pruner, "epochs": config.train.epochs, "n-trials": n_trials}
    data = {field.name.replace("_", "-"): getattr(config.data, field.name) for field in dataclasses.fields(config.data)}
    flags |= {name: value for name, value in data.items() if value is not None and name != "drop-stars"}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    words += [word for star in config.data.drop_stars for word in ("--drop-stars", f"{star:g}")]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return [
        ("command", f"python -m tuning tune {shlex.join(words)}"),
        ("created", record["created"]),
        ("versions", versions),
        ("git commit", record.get("git_commit") or "none"),
        ("fingerprints", f"data {record['data_fingerprint']}, space {record['space_fingerprint']}"),
    ]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; every cell is escaped."""
    head = "".join(f"<th>{_e(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and values, its values wrapped."""
    return table((), rows).replace("<table>", "<table class=pairs>")


def _by_size(values: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(values.items(), key=lambda pair: int(pair[0]))


def _e(text: object) -> str:
    return html.escape(str(text))
