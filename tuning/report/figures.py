"""Plotly figures of a study, for the report and Optuna Dashboard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from tuning.config import COSTS
from tuning.confirmation.estimates import estimate
from tuning.confirmation.rounds import Confirmation
from tuning.evaluation.statistics import Interval
from tuning.metrics import METRICS
from tuning.report.tables import trial_label, with_best
from tuning.study.importances import study_of
from tuning.study.summary import PHASES, Summary, best_of
from tuning.study.trials import attributes_of, epoch_values, is_pruned_early

N_CURVES = 12  # Maximum number of curves: readers can't distinguish more lines.
# The newest pruned trials are drawn. The number is limited because Optuna Dashboard keeps the
# figure in the storage.
N_PRUNED_CURVES = 100
N_LINES = 200  # Maximum number of lines of the parallel coordinates.
MAX_TICKS = 20  # Maximum number of epochs of which each has a tick.
PRUNED_MARKER = {"symbol": "x", "size": 8, "color": "#8a94a0"}
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 30, "t": 40, "b": 60},
    "font": {"size": 13},
    # The legend is below the plot, so that the plot has the whole width of a phone.
    "legend": {"orientation": "h", "y": -0.18},
}


def learning_curves(summary: Summary, confirmation: Confirmation | None = None) -> go.Figure:
    """Draw the objective after each epoch: the best trials, the baseline as a dashed line, and
    pruned trials up to their last epoch.
    """
    best = best_of(summary, confirmation)
    figure = go.Figure(layout=LAYOUT)
    for trial in with_best(summary.ranked[:N_CURVES], summary, best):
        values = epoch_values(trial)
        is_baseline = trial is summary.baseline
        figure.add_scatter(
            x=[*values],
            y=[*values.values()],
            mode="lines+markers",
            name=trial_label(trial, summary, best),
            line={"dash": "dash", "color": "gray"} if is_baseline else {},
        )
    _add_pruned_curves(figure, pruned_trials(summary)[-N_PRUNED_CURVES:])
    n_epochs = max((max(epoch_values(t), default=0) for t in summary.trials), default=0)
    figure.update_xaxes(title="epoch", dtick=1 if n_epochs <= MAX_TICKS else None)
    figure.update_yaxes(title=summary.metric)
    return figure


def _add_pruned_curves(figure: go.Figure, pruned: Sequence[FrozenTrial]) -> None:
    """Draw thin gray lines, each with a cross at its end.

    All trials share two traces, so that a click on one entry of the legend hides all of them.
    """
    if not pruned:
        return
    x: list[float | None] = []
    y: list[float | None] = []
    for trial in pruned:
        values = epoch_values(trial)
        x += [*values, None]  # None ends the line.
        y += [*values.values(), None]
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"width": 1, "color": PRUNED_MARKER["color"]},
        name="pruned",
        legendgroup="pruned",
        showlegend=False,
        hoverinfo="skip",
    )
    ends = [max(epoch_values(trial)) for trial in pruned]
    figure.add_scatter(**_pruned_marks(pruned), x=ends, legendgroup="pruned")


def pruned_trials(summary: Summary) -> list[FrozenTrial]:
    return [
        trial for trial in summary.trials if is_pruned_early(trial) and trial.intermediate_values
    ]


def _pruned_marks(pruned: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return a trace of crosses at the last values of pruned trials, without its x values."""
    ends = [max(epoch_values(trial)) for trial in pruned]
    return {
        "y": [epoch_values(trial)[end] for trial, end in zip(pruned, ends, strict=True)],
        "text": [
            f"trial {trial.number}, pruned after epoch {end:g}"
            for trial, end in zip(pruned, ends, strict=True)
        ],
        "mode": "markers",
        "marker": PRUNED_MARKER,
        "name": "pruned (last value)",
    }


def history(study: optuna.Study, summary: Summary) -> go.Figure:
    """Draw the objective of each completed trial, the best value so far, and the last value of each
    pruned trial.
    """
    figure = optuna.visualization.plot_optimization_history(study, **_target(summary))
    pruned = pruned_trials(summary)
    if pruned:
        figure.add_scatter(**_pruned_marks(pruned), x=[trial.number for trial in pruned])
    return figure


def baseline_against_best(summary: Summary, confirmation: Confirmation | None = None) -> go.Figure:
    """Draw the validation metrics of the baseline and of the best trial side by side.

    The metrics are drawn once where the best trial is the baseline.
    """
    figure = go.Figure(layout=LAYOUT)
    names = [metric.objective for metric in METRICS.values() if metric.is_share]
    best = best_of(summary, confirmation)
    for trial in with_best([summary.baseline] if summary.baseline else [], summary, best):
        values = [trial.user_attrs.get(name) for name in names]
        texts = [f"{value:.3f}" if value is not None else "" for value in values]
        figure.add_bar(x=names, y=values, text=texts, name=trial_label(trial, summary, best))
    figure.update_yaxes(title="value", range=[0, 1])
    return figure


def cost(summary: Summary) -> go.Figure:
    timed = [t for t in summary.trials if "seconds" in attributes_of(t)]
    figure = go.Figure(layout={**LAYOUT, "barmode": "stack"})
    for phase in PHASES:
        figure.add_bar(
            x=[t.number for t in timed],
            y=[attributes_of(t)["seconds"].get(phase, 0.0) for t in timed],
            name=phase,
        )
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="seconds")
    return figure


def importance_figure(importances: dict[str, Interval]) -> go.Figure:
    names = list(reversed(importances))
    values = [importances[name].value for name in names]
    has_intervals = not all(math.isnan(interval.low) for interval in importances.values())
    error = (
        {"type": "data", "symmetric": False, **_error_bars([importances[name] for name in names])}
        if has_intervals
        else None
    )
    figure = go.Figure(layout=LAYOUT)
    figure.add_bar(
        x=values,
        y=names,
        orientation="h",
        text=[f"{value:.2f}" for value in values],
        textposition="inside",
        insidetextanchor="start",
        error_x=error,
    )
    figure.update_xaxes(title="importance", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    return figure


def slices(
    study: optuna.Study,
    summary: Summary,
    confirmation: Confirmation | None,
    *,
    params: list[str],
) -> go.Figure:
    """Draw the objective over each hyperparameter, with pruned trials at their last value and the
    corrected means of the confirmation.
    """
    figure = optuna.visualization.plot_slice(study, params=params, **_target(summary))
    pruned = pruned_trials(summary)
    if pruned:
        _add_to_each(figure, [trial.params for trial in pruned], **_pruned_marks(pruned))
    estimates = estimate(confirmation) if confirmation else None
    if confirmation is None or estimates is None:
        return figure
    repeated = [
        finalist for finalist in confirmation.finalists if finalist.trial in estimates.means
    ]
    means = [estimates.means[finalist.trial] for finalist in repeated]
    _add_to_each(
        figure,
        [finalist.values for finalist in repeated],
        y=[mean.value for mean in means],
        error_y={"type": "data", "symmetric": False, **_error_bars(means)},
        text=[f"trial {finalist.trial}" for finalist in repeated],
        mode="markers",
        marker={"symbol": "diamond", "size": 10, "color": "#d9480f"},
        name="confirmed on fresh seeds",
    )
    return figure


def parallel_coordinates(study: optuna.Study, summary: Summary, *, params: list[str]) -> go.Figure:
    """Draw each of the best `N_LINES` completed trials as a line over all hyperparameters. Optuna
    draws each line as a trace of its own, which makes a page of thousands slow.
    """
    shown = study if len(summary.ranked) <= N_LINES else study_of(summary.ranked[:N_LINES], summary)
    return optuna.visualization.plot_parallel_coordinate(shown, params=params, **_target(summary))


def contours(trials: Sequence[FrozenTrial], summary: Summary, *, params: list[str]) -> go.Figure:
    return optuna.visualization.plot_contour(
        study_of(trials, summary), params=params, target_name=summary.metric
    )


def pareto_front(study: optuna.Study, summary: Summary) -> go.Figure:
    return optuna.visualization.plot_pareto_front(
        study, target_names=study.metric_names or [summary.metric, *COSTS]
    )


def _add_to_each(figure: go.Figure, values: Sequence[Mapping[str, Any]], **trace: Any) -> None:
    """Add a trace to each plot of a row of slices.

    The title of a plot's x axis is the name of a hyperparameter; `values` contains the values of
    all hyperparameters, for each point of the trace.
    """
    axes = dict.fromkeys((drawn.xaxis or "x", drawn.yaxis or "y") for drawn in figure.data)
    for number, (x, y) in enumerate(axes):
        axis = figure.layout[f"xaxis{x[1:]}"]
        points = [point.get(axis.title.text) for point in values]
        if axis.type == "category":
            points = [repr(point) for point in points]  # Optuna's names of categories.
        figure.add_scatter(
            **trace, x=points, xaxis=x, yaxis=y, showlegend=number == 0, legendgroup=trace["name"]
        )


def _error_bars(intervals: list[Interval]) -> dict[str, list[float]]:
    """Return the lengths of error bars above and below their values.

    A length is 0 where the interval is not known, or where a bootstrap's interval lies to one side
    of its value.
    """
    ends = [
        (0.0, 0.0)
        if math.isnan(interval.low)
        else (interval.high - interval.value, interval.value - interval.low)
        for interval in intervals
    ]
    return {
        "array": [max(above, 0.0) for above, _ in ends],
        "arrayminus": [max(below, 0.0) for _, below in ends],
    }


def _target(summary: Summary) -> dict[str, Any]:
    """Return arguments that make Optuna's figures draw the metric.

    With a single objective the function `target` is left out: Optuna's history then has the best
    value so far.
    """
    named = {"target_name": summary.metric}
    return {**named, "target": lambda trial: trial.values[0]} if summary.has_costs else named
