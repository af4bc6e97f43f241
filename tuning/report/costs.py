"""Figures of the metric of each trial over its training time, its size and its latency; the trials
by architecture; and the time that pruning saved.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from tuning.confirmation.record import Confirmation
from tuning.evaluation.statistics import pareto_front
from tuning.metrics import metric_text, sign
from tuning.report.figures import LAYOUT
from tuning.report.html_parts import plain
from tuning.report.quality import BEST_COLOR, OTHER_COLOR, REFERENCE_COLOR
from tuning.report.tables import trial_label
from tuning.study.summary import Summary, best_of
from tuning.study.trials import (
    busy_seconds,
    expected_seconds,
    is_pruned_early,
    seconds_of,
    value_of,
)

ARCHITECTURE = "architecture"  # Name of the hyperparameter that chooses between kinds of models.
MIN_COST_TRIALS = 3  # Two trials always appear to trade off, or not to.


@dataclass(frozen=True)
class Cost:
    name: str
    title: str
    unit: str

    def of(self, trial: FrozenTrial) -> float | None:
        if self.name == "seconds":
            return busy_seconds(seconds_of(trial)) or None
        value: float | None = trial.user_attrs.get(self.name)
        return value or None


COSTS = (
    Cost("seconds", "Training time", "seconds of a trial"),
    Cost("n_parameters", "Size", "parameters"),
    Cost("latency_ms", "Latency", "milliseconds for a text"),
)


def cost_figures(
    summary: Summary, confirmation: Confirmation | None = None
) -> list[tuple[str, go.Figure]]:
    known = [(cost, [t for t in summary.ranked if cost.of(t) is not None]) for cost in COSTS]
    return [
        (cost.title, _cost_figure(cost, trials, summary, confirmation))
        for cost, trials in known
        if len(trials) >= MIN_COST_TRIALS
    ]


def _cost_figure(
    cost: Cost, trials: Sequence[FrozenTrial], summary: Summary, confirmation: Confirmation | None
) -> go.Figure:
    figure = go.Figure(layout={**LAYOUT, "height": 340, "showlegend": False})
    # For mypy: each of these trials has a known cost.
    points = [(cost.of(trial) or 0.0, value_of(trial)) for trial in trials]
    add_front(figure, points, direction=sign(summary.metric))
    best = best_of(summary, confirmation)
    # The index of each trial's role: the best trial, the baseline, or another trial.
    roles = [
        0 if best is not None and trial is best.trial else 1 if trial is summary.baseline else 2
        for trial in trials
    ]
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="markers",
        marker={
            "symbol": [("star", "square", "circle")[role] for role in roles],
            "size": [(14, 10, 9)[role] for role in roles],
            "color": [(REFERENCE_COLOR, OTHER_COLOR, BEST_COLOR)[role] for role in roles],
        },
        opacity=0.8,
        text=[_named(trial, trial_label(trial, summary, best)) for trial in trials],
        customdata=[metric_text(value) for _, value in points],
        hovertemplate="%{text}: %{x:,.4g}, %{customdata}<extra></extra>",
    )
    # The usual labels of ticks between powers of ten are single digits: 2 for 200k.
    ticks = {"minorloglabels": "complete", "nticks": 4, "exponentformat": "SI"}
    figure.update_xaxes(title=cost.unit, type="log", **ticks)
    figure.update_yaxes(title=summary.metric)
    return figure


def _named(trial: FrozenTrial, label: str) -> str:
    kind = trial.params.get(ARCHITECTURE)
    return label if kind is None else f"{label}, {plain(str(kind))}"


def add_front(
    figure: go.Figure, points: Sequence[tuple[float, float]], *, direction: int = 1
) -> None:
    """Draw the front of points (cost, value), if it has more than one point."""
    best_first = sorted(points, key=lambda point: (-direction * point[1], point[0]))
    front = sorted(pareto_front(best_first, lambda point: (point[0],)))
    if len(front) > 1:
        figure.add_scatter(
            x=[x for x, _ in front],
            y=[y for _, y in front],
            mode="lines",
            line={"shape": "hv", "width": 1.5, "dash": "dot", "color": OTHER_COLOR},
            hoverinfo="skip",
            name="front",
        )


def architecture_rows(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Return header and rows about the ended trials of each architecture, the architecture with the
    best trial first.
    """
    ended = [t for t in summary.trials if ARCHITECTURE in t.params and t.state.is_finished()]
    ranked = [t for t in summary.ranked if ARCHITECTURE in t.params]
    rows = []
    for kind in dict.fromkeys(trial.params[ARCHITECTURE] for trial in (*ranked, *ended)):
        trials = [trial for trial in ended if trial.params[ARCHITECTURE] == kind]
        complete = [trial for trial in ranked if trial.params[ARCHITECTURE] == kind]
        best = median = ""
        if complete:
            best = f"{metric_text(value_of(complete[0]))} (trial {complete[0].number})"
            median = metric_text(statistics.median(map(value_of, complete)))
        seconds = f"{sum(busy_seconds(seconds_of(trial)) for trial in trials):.0f}"
        rows.append([str(kind), str(len(trials)), str(len(complete)), best, median, seconds])
    metric = f"best {summary.metric}"
    return ["architecture", "trials", "complete", metric, "median", "seconds"], rows


def saved_sentence(summary: Summary, *, epochs: int) -> str:
    """Compare with a search whose trials all train for `epochs` epochs."""
    pruned = [trial for trial in summary.trials if is_pruned_early(trial)]
    if not pruned:
        return ""
    # The seconds of a trial that was pruned after its worker had died are not known and count as 0.
    saved = sum(
        expected_seconds(trial, epochs) - busy_seconds(seconds_of(trial)) for trial in pruned
    )
    spent = sum(busy_seconds(seconds_of(trial)) for trial in summary.trials)
    share = saved / (saved + spent)
    return (
        f"Pruning saved up to {saved:.0f} s of worker time, {share:.0%} of a search without pruning"
        f" ({len(pruned)} trials)."
    )
