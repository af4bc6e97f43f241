"""`results/bench/bench.html`: the newest record of every part as one Plotly page that opens
offline.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io
import plotly.offline

from benchmarks.goals import PARTS, rows
from tuning.report.html_tables import pairs, table
from tuning.results import write_text

_STYLE = """
body { margin: 0 auto; max-width: 1120px; padding: 24px; font: 15px/1.5 system-ui, sans-serif; color: #1d2733; background: #fff; }
h1 { margin: 0; font-size: 26px; } h2 { margin: 36px 0 4px; font-size: 19px; } p { max-width: 75ch; } .soft { color: #5b6775; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid #dde3ea; text-align: left; vertical-align: top; }
th { color: #5b6775; } .pairs td { overflow-wrap: anywhere; } .pairs td:first-child { white-space: nowrap; }
"""
_LAYOUT: dict[str, Any] = {"template": "plotly_white", "height": 380, "margin": {"t": 20, "r": 20}}
_NAMES = {
    "ours": "this program",
    "kerastuner_random": "KerasTuner RandomSearch",
    "optuna_script": "Optuna script",
}


def write_page(folder: Path, records: Mapping[str, Mapping[str, Any]], *, tiny: bool) -> Path:
    """Write the page of these records; Plotly's script is in it once."""
    path = folder / ("tiny-bench.html" if tiny else "bench.html")
    sections = [_section(part, records[part]) for part in PARTS if part in records]
    warning = (
        "<p><strong>Tiny sizes, to try the command: these figures mean nothing.</strong></p>"
        if tiny
        else ""
    )
    text = (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport"
        " content='width=device-width, initial-scale=1'>"
        "<title>make"
        f" bench</title><style>{_STYLE}</style><script>{plotly.offline.get_plotlyjs()}</script></head><body>"
        "<h1>make"
        f" bench</h1>{warning}{table(('figure', 'measured', 'goal', 'reached'), rows(records))}{''.join(sections)}</body></html>\n"
    )
    write_text(path, text)
    return path


def _section(part: str, record: Mapping[str, Any]) -> str:
    plots = [
        f"<p class=soft>{html.escape(sentence)}</p>"
        + plotly.io.to_html(
            figure,
            include_plotlyjs=False,
            full_html=False,
            config={"responsive": True, "displaylogo": False},
        )
        for sentence, figure in part_figures(part, record)
    ]
    machine, data = record["machine"], record["data"]
    facts = [
        ("date", record["date"]),
        ("command", record["command"]),
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"),
        (
            "versions",
            ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        ),
        (
            "data",
            f"{data['name']}, {data['fingerprint']}, "
            + ", ".join(f"{name} {n:,}" for name, n in data["n_rows"].items()),
        ),
        ("seed, workers", f"{record['seed']}, {record['n_workers']}"),
    ]
    return f"<h2>{part}</h2>{''.join(plots)}{pairs(facts)}"


def part_figures(part: str, record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    """A part's figures, each with a sentence that says what it shows."""
    make = {
        "throughput": _throughput,
        "time-to-accuracy": _time_to_accuracy,
        "step": _step,
        "scale": _scale,
        "scale-out": _scale_out,
        "confirmation": _confirmation,
        "serving": _serving,
    }
    return make[part](record)


def _throughput(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    hours, accuracies = go.Figure(layout=_LAYOUT), go.Figure(layout={**_LAYOUT, "barmode": "group"})
    for name, side in record["sides"].items():
        hours.add_bar(x=[_NAMES[name]], y=[side["trials_an_hour"]], showlegend=False)
        accuracies.add_bar(name=_NAMES[name], y=[trial["val_accuracy"] for trial in side["trials"]])
    hours.update_yaxes(title="finished trials an hour")
    accuracies.update_xaxes(title="configuration of the fixed list, from 0").update_yaxes(
        title="val_accuracy", range=[0.4, 1]
    )
    return [
        ("Finished trials an hour, the whole call.", hours),
        ("The same work: validation accuracy of each trial.", accuracies),
    ]


def _time_to_accuracy(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    figure = go.Figure(layout=_LAYOUT)
    for name, curve in record["best_over_time"].items():
        x, y = [point["seconds"] for point in curve], [point["val_accuracy"] for point in curve]
        figure.add_scatter(x=x, y=y, name=name, line={"shape": "hv"}, mode="lines+markers")
    if record["target"] is not None:
        figure.add_hline(y=record["target"], line_dash="dot")
    figure.update_xaxes(title="seconds", type="log").update_yaxes(title="best val_accuracy so far")
    return [
        (
            (
                "The best validation accuracy so far; dotted: that of KerasTuner's better tuner,"
                " which this program has to reach."
            ),
            figure,
        )
    ]


def _step(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    figure = go.Figure(layout={**_LAYOUT, "barmode": "group"})
    cases = record["cases"]
    names = [
        f"length {case['length']}, units {case['units']}, embedding {case['embedding_dim']}"
        for case in cases
    ]
    for side in ("keras", "ours", "pytorch", "floor"):
        figure.add_bar(name=side, x=names, y=[case["median_ms"].get(side) for case in cases])
    figure.update_yaxes(title="ms a step, one thread")
    return [("A training step of a batch of 128 on one thread, median.", figure)]


def _scale(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    rows_figure, memory, phases = (go.Figure(layout=_LAYOUT) for _ in range(3))
    sizes = record["tokenising"]
    rows_figure.add_scatter(
        x=[size["n_rows"] for size in sizes],
        y=[size["tokenising_seconds"] for size in sizes],
        mode="lines+markers",
    )
    rows_figure.update_xaxes(title="reviews", type="log").update_yaxes(
        title="seconds to tokenise", type="log"
    )
    memory.add_scatter(y=record["worker_memory"]["resident_mib"], mode="lines")
    memory.update_xaxes(title="trial").update_yaxes(
        title="MiB resident in the worker", rangemode="tozero"
    )
    found = record["worker_time"]["seconds_by_phase"]
    phases.add_bar(x=list(found), y=list(found.values()))
    phases.update_yaxes(title="seconds of all workers")
    return [
        ("Tokenising.", rows_figure),
        ("Resident memory of one worker.", memory),
        ("Where the workers' time went.", phases),
    ]


def _scale_out(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    figure = go.Figure(layout=_LAYOUT)
    found = record["simulations"]
    for name, label in (
        ("idle_share", "workers idle"),
        ("coordinator_busy_share", "coordinator busy"),
    ):
        figure.add_scatter(
            x=[one["n_workers"] for one in found],
            y=[one[name] for one in found],
            name=label,
            mode="lines+markers",
        )
    figure.add_hline(y=0.05, line_dash="dot")
    figure.update_xaxes(title="workers", type="log").update_yaxes(
        title="share of the time", range=[0, 1]
    )
    return [
        (
            (
                "Workers with trainings of 60 s on one coordinator, at the end of a study: a"
                " simulation."
            ),
            figure,
        )
    ]


def _confirmation(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    sets = record["data_sets"]
    names = [one["name"] for one in sets]
    coverage, regret = go.Figure(layout=_LAYOUT), go.Figure(layout=_LAYOUT)
    coverage.add_bar(x=names, y=[one["coverage"] for one in sets])
    coverage.add_hline(y=0.9, line_dash="dot").update_yaxes(title="share of searches", range=[0, 1])
    regret.add_bar(
        x=names,
        y=[
            one["regret"] / one["regret_of_best_trial"] if one["regret_of_best_trial"] else None
            for one in sets
        ],
    )
    regret.add_hline(y=1, line_dash="dot").update_yaxes(
        title="regret over that of Optuna's best trial"
    )
    return [
        ("How often the interval of the confirmed best's value holds the truth.", coverage),
        (
            (
                "The regret of the confirmed best over that of Optuna's best trial after as many"
                " trainings; below 1 is better."
            ),
            regret,
        ),
    ]


def _serving(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    rates, times = (go.Figure(layout={**_LAYOUT, "barmode": "group"}) for _ in range(2))
    kinds = {
        "batches": "100 reviews a request",
        "single": "one review a request",
        "predict": "make predict FILE=",
    }
    for name, found in record["models"].items():
        rates.add_bar(
            name=name,
            x=list(kinds.values()),
            y=[found[kind]["reviews_per_second"] for kind in kinds],
        )
        times.add_bar(
            name=name,
            x=[kinds["batches"], kinds["single"]],
            y=[found[kind]["p99_ms"] for kind in ("batches", "single")],
        )
    rates.update_yaxes(title="reviews a second")
    times.update_yaxes(title="ms, 99th percentile of the requests")
    return [
        ("Reviews a second, by model.", rates),
        ("How long a request takes while others wait too, 99th percentile.", times),
    ]
