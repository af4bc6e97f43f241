"""`results/bench/bench.html`: the newest record of every part as a page with Plotly figures that
opens offline.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from benchmarks.goals import PARTS, rows
from benchmarks.tables import NAMES, noise_sentences, part_tables
from tuning.atomic_io import write_text
from tuning.report.html_parts import pairs, plot_html, plotly_script, table
from tuning.templates import render

_LAYOUT: dict[str, Any] = {"template": "plotly_white", "height": 380, "margin": {"t": 20, "r": 20}}


def write_page(folder: Path, records: Mapping[str, Mapping[str, Any]], *, tiny: bool) -> Path:
    """Write the page of these records and return its path.

    `records` has the record of each part by the part's name.
    """
    path = folder / ("tiny-bench.html" if tiny else "bench.html")
    goals = table(("figure", "measured", "goal", "reached"), rows(records))
    text = render(
        "benchmarks",
        "page.html",
        tiny=tiny,
        goals=goals,
        parts=[_part(name, records[name]) for name in PARTS if name in records],
        plotly_script=plotly_script(),
    )
    write_text(path, text)
    return path


def _part(
    name: str, record: Mapping[str, Any]
) -> tuple[str, list[Markup], list[tuple[str, Markup]], Markup]:
    """Return a part's name, its tables, its figures as HTML, each with a sentence, and the facts of
    its record.
    """
    tables = [table(columns, lines) for columns, lines in part_tables(name, record)]
    figures = [(sentence, plot_html(figure)) for sentence, figure in part_figures(name, record)]
    return name, tables, figures, pairs(_facts(name, record))


def _facts(name: str, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the date, the command, the machine, the versions and the data of a record."""
    machine, data = record["machine"], record["data"]
    noise = noise_sentences(name, record)
    return [
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
        *([("throttled or busy machine", " ".join(noise))] if noise else []),
    ]


def part_figures(part: str, record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    """Return a part's figures, each with a sentence that describes the figure."""
    functions = {
        "throughput": _throughput,
        "time-to-accuracy": _time_to_accuracy,
        "fasttext": _fasttext,
        "step": _step,
        "scale": _scale,
        "scale-out": _scale_out,
        "confirmation": _confirmation,
        "serving": _serving,
        "whole-run": _whole_run,
    }
    return functions[part](record)


def _throughput(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    hours = go.Figure(layout={**_LAYOUT, "barmode": "group"})
    data_sets = record.get("data_sets", [])
    names = [data_set["name"] for data_set in data_sets]
    for side in data_sets[0]["sides"] if data_sets else ():
        y = [data_set["sides"][side]["trials_an_hour"] for data_set in data_sets]
        hours.add_bar(name=NAMES[side], x=names, y=y)
    hours.update_yaxes(title="finished trials per hour")
    accuracies = [
        (
            f"The same work on {data_set['name']}: validation accuracy of each trial.",
            _accuracies(data_set["sides"]),
        )
        for data_set in data_sets
    ]
    return [("Finished trials per hour of the whole call.", hours), *accuracies]


def _accuracies(sides: Mapping[str, Any]) -> go.Figure:
    figure = go.Figure(layout={**_LAYOUT, "barmode": "group"})
    for name, side in sides.items():
        figure.add_bar(name=NAMES[name], y=[trial["val_accuracy"] for trial in side["trials"]])
    figure.update_xaxes(title="configuration of the side's list, from 0")
    return figure.update_yaxes(title="val_accuracy", range=[0.4, 1])


def _time_to_accuracy(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    figure = go.Figure(layout=_LAYOUT)
    for name, curve in record["best_over_time"].items():
        x, y = [point["seconds"] for point in curve], [point["val_accuracy"] for point in curve]
        figure.add_scatter(x=x, y=y, name=NAMES[name], line={"shape": "hv"}, mode="lines+markers")
    if record["target"] is not None:
        figure.add_hline(y=record["target"], line_dash="dot")
    figure.update_xaxes(title="seconds", type="log").update_yaxes(title="best val_accuracy so far")
    return [
        (
            (
                "The best validation accuracy so far. The dotted line is the best accuracy of"
                " KerasTuner's better tuner, which this program has to reach."
            ),
            figure,
        )
    ]


def _fasttext(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    accuracies, seconds = (go.Figure(layout={**_LAYOUT, "barmode": "group"}) for _ in range(2))
    for name, side in record.get("sides", {}).items():
        accuracies.add_bar(
            name=NAMES[name],
            x=["validation", "test"],
            y=[side["validation_accuracy"], side["test_accuracy"]],
        )
        seconds.add_bar(
            name=NAMES[name], x=["wall", "CPU"], y=[side["seconds"], side["cpu_seconds"]]
        )
    accuracies.update_yaxes(title="accuracy")
    seconds.update_yaxes(title="seconds")
    return [
        ("Accuracy of the best configuration on the splits.", accuracies),
        ("Wall and CPU time of the search and of the training of its best.", seconds),
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
    figure.update_yaxes(title="ms per step, one thread")
    return [("Median time of a training step with a batch of 128 on one thread.", figure)]


def _scale(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    rows_figure, memory, phases = (go.Figure(layout=_LAYOUT) for _ in range(3))
    sizes = record["tokenizing"]
    rows_figure.add_scatter(
        x=[size["n_rows"] for size in sizes],
        y=[size["tokenizing_seconds"] for size in sizes],
        mode="lines+markers",
    )
    rows_figure.update_xaxes(title="reviews", type="log").update_yaxes(
        title="seconds to tokenize", type="log"
    )
    memory.add_scatter(y=record["worker_memory"]["resident_mib"], mode="lines")
    memory.update_xaxes(title="trial").update_yaxes(
        title="MiB resident in the worker", rangemode="tozero"
    )
    seconds = record["worker_time"]["seconds_by_phase"]
    phases.add_bar(x=list(seconds), y=list(seconds.values()))
    phases.update_yaxes(title="seconds of all workers")
    return [
        ("Time to tokenize the reviews.", rows_figure),
        ("Resident memory of one worker.", memory),
        ("The workers' time by phase.", phases),
    ]


def _scale_out(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    figure = go.Figure(layout=_LAYOUT)
    simulations = record["simulations"]
    for name, label in (
        ("idle_share", "workers idle"),
        ("coordinator_busy_share", "coordinator busy"),
    ):
        figure.add_scatter(
            x=[simulation["n_workers"] for simulation in simulations],
            y=[simulation[name] for simulation in simulations],
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
                "A simulation of workers with trainings of 60 s and one coordinator, at the end of"
                " a study."
            ),
            figure,
        )
    ]


def _confirmation(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    sets = record["data_sets"]
    names = [data_set["name"] for data_set in sets]
    coverage, regret = go.Figure(layout=_LAYOUT), go.Figure(layout=_LAYOUT)
    coverage.add_bar(x=names, y=[data_set["coverage"] for data_set in sets])
    coverage.add_hline(y=0.9, line_dash="dot").update_yaxes(title="share of searches", range=[0, 1])
    regret.add_bar(
        x=names,
        y=[
            data_set["regret"] / data_set["regret_of_best_trial"]
            if data_set["regret_of_best_trial"]
            else None
            for data_set in sets
        ],
    )
    regret.add_hline(y=1, line_dash="dot").update_yaxes(
        title="regret / regret of Optuna's best trial"
    )
    return [
        ("How often the interval of the confirmed best's value contains the true value.", coverage),
        (
            (
                "The regret of the confirmed best, divided by the regret of Optuna's best trial"
                " after the same number of trainings; below 1 is better."
            ),
            regret,
        ),
    ]


def _serving(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    rates, times = (go.Figure(layout={**_LAYOUT, "barmode": "group"}) for _ in range(2))
    kinds = {
        "batches": "100 reviews per request",
        "single": "one review per request",
        "predict": "make predict FILE=",
    }
    for name, measured in record["models"].items():
        rates.add_bar(
            name=name,
            x=list(kinds.values()),
            y=[measured[kind]["reviews_per_second"] for kind in kinds],
        )
        times.add_bar(
            name=name,
            x=[kinds["batches"], kinds["single"]],
            y=[measured[kind]["p99_ms"] for kind in ("batches", "single")],
        )
    rates.update_yaxes(title="reviews per second")
    times.update_yaxes(title="ms, 99th percentile of the requests")
    return [
        ("Reviews per second, by model.", rates),
        ("99th percentile of the time of a request while other requests wait too.", times),
    ]


def _whole_run(record: Mapping[str, Any]) -> list[tuple[str, go.Figure]]:
    figure, runs = go.Figure(layout={**_LAYOUT, "barmode": "stack"}), record["runs"]
    for command in ("tune", "export-best"):
        seconds = [both[command]["seconds"] for both in runs.values()]
        figure.add_bar(name=command, x=[NAMES[space] for space in runs], y=seconds)
    figure.update_yaxes(title="seconds")
    return [("Wall time of both commands with an empty results folder.", figure)]
