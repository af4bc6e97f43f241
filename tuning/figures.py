"""Plotly figures of a study, for the report and the Dashboard."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
import plotly.graph_objects as go

from tuning.config import COSTS
from tuning.confirmation import Confirmation
from tuning.importances import importances, study_of
from tuning.judgement import judge
from tuning.spaces import SearchSpace
from tuning.statistics import Interval
from tuning.summary import PHASES, Summary

N_CURVES = 12  # more lines than this can't be told apart
N_CONTOURS = 4
N_CONTOUR_TRIALS = 50  # a contour is a grid of all pairs of values: at 500 trials, 12 of them would make a page of 60 MB
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 30, "t": 40, "b": 60},
    "font": {"size": 13},
    "legend": {"orientation": "h", "y": -0.18},  # below, so that a phone keeps its width for the plot
}


def learning_curves(summary: Summary) -> go.Figure:
    """The objective after each epoch: the best trials, and the baseline dashed."""
    shown = summary.ranked[:N_CURVES]
    if summary.baseline and summary.baseline not in shown:
        shown = [*shown, summary.baseline]
    figure = go.Figure(layout=LAYOUT)
    for trial in shown:
        epochs = sorted(trial.intermediate_values)
        is_baseline = trial is summary.baseline
        figure.add_scatter(
            x=epochs,
            y=[trial.intermediate_values[epoch] for epoch in epochs],
            mode="lines+markers",
            name=f"baseline (trial {trial.number})" if is_baseline else f"trial {trial.number}",
            line={"dash": "dash", "color": "gray"} if is_baseline else {},
        )
    figure.update_xaxes(title="epoch", dtick=1)
    figure.update_yaxes(title=summary.metric)
    return figure


def baseline_against_best(summary: Summary) -> go.Figure:
    """Validation metrics of the baseline and of the best trial, side by side."""
    figure = go.Figure(layout=LAYOUT)
    names = ("val_accuracy", "val_balanced_accuracy", "val_f1", "val_auc")
    for label, trial in (("baseline", summary.baseline), ("best", summary.best)):
        if trial is not None:
            values = [trial.user_attrs.get(name) for name in names]
            texts = [f"{value:.3f}" if value is not None else "" for value in values]
            figure.add_bar(x=list(names), y=values, text=texts, name=f"{label} (trial {trial.number})")
    figure.update_yaxes(title="value", range=[0, 1])
    return figure


def cost(summary: Summary) -> go.Figure:
    """Seconds of each trial by phase."""
    timed = [t for t in summary.trials if "seconds" in t.user_attrs]
    figure = go.Figure(layout={**LAYOUT, "barmode": "stack"})
    for phase in PHASES:
        figure.add_bar(x=[t.number for t in timed], y=[t.user_attrs["seconds"].get(phase, 0.0) for t in timed], name=phase)
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="seconds")
    return figure


def importance_figure(found: dict[str, Interval]) -> go.Figure:
    """Importances as horizontal bars, with their intervals."""
    names = list(reversed(found))
    values = [found[name].value for name in names]
    error = {"type": "data", "symmetric": False, **_bars([found[name] for name in names])}
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


def slices(study: optuna.Study, summary: Summary, found: Confirmation | None, *, params: list[str]) -> go.Figure:
    """The objective over each hyperparameter, and on it the corrected means of the confirmation with their intervals."""
    figure = optuna.visualization.plot_slice(study, params=params, **_target(summary))
    judgement = judge(found) if found else None
    if found is None or judgement is None:
        return figure
    confirmed = [one for one in found.finalists if one.trial in judgement.means]
    means = [judgement.means[one.trial] for one in confirmed]
    for number, trace in enumerate(list(figure.data)):
        axis = figure.layout[f"xaxis{(trace.xaxis or 'x')[1:]}"]
        values = [one.values.get(axis.title.text) for one in confirmed]
        figure.add_scatter(
            x=[repr(value) for value in values] if axis.type == "category" else values,
            y=[mean.value for mean in means],
            error_y={"type": "data", "symmetric": False, **_bars(means)},
            text=[f"trial {one.trial}" for one in confirmed],
            mode="markers",
            marker={"symbol": "diamond", "size": 10, "color": "#d9480f"},
            name="confirmed on fresh seeds",
            showlegend=number == 0,
            xaxis=trace.xaxis,
            yaxis=trace.yaxis,
        )
    return figure


def _bars(intervals: list[Interval]) -> dict[str, list[float]]:
    """Error bars; an interval that is not known has none, and a bootstrap's may lie to one side of its value."""
    ends = [(0.0, 0.0) if math.isnan(one.low) else (one.high - one.value, one.value - one.low) for one in intervals]
    return {"array": [max(up, 0.0) for up, _ in ends], "arrayminus": [max(down, 0.0) for _, down in ends]}


def _target(summary: Summary) -> dict[str, Any]:
    """What Optuna's figures draw: the metric. Of a single objective they know it, and its best value so far, by themselves."""
    named = {"target_name": summary.metric}
    return {**named, "target": lambda trial: trial.values[0]} if summary.has_costs else named


@dataclass(frozen=True)
class Plot:
    """A plot of the report: its title, one sentence, and what draws it."""

    title: str
    sentence: str
    draw: Callable[[], go.Figure]


def report_figures(
    study: optuna.Study, summary: Summary, space: SearchSpace, found: Confirmation | None = None
) -> list[tuple[str, str, go.Figure]]:
    """Title, one sentence and figure of each plot of the report, in its order. A plot that the trials don't allow is left out."""
    important = importances(summary)
    ordered = sorted((i.name for i in space.searched if not i.conditions), key=lambda n: -important[n].value if n in important else 0.0)
    varied = [name for name in ordered if len({t.params.get(name) for t in summary.ranked}) > 1]
    plots = [
        Plot("Baseline against best", "Validation metrics at the best epoch of each.", lambda: baseline_against_best(summary)),
        *_front_plots(study, summary),
        Plot(
            "Optimisation history",
            "The objective of each completed trial, and the best so far.",
            lambda: optuna.visualization.plot_optimization_history(study, **_target(summary)),
        ),
        Plot("Learning curves", "The objective after each epoch.", lambda: learning_curves(summary)),
        *_hyperparameter_plots(study, summary, found, important, varied),
        Plot("Cost", "Seconds of each trial by phase.", lambda: cost(summary)),
    ]
    return [(plot.title, plot.sentence, _styled(plot.title, plot.draw())) for plot in plots]


def _front_plots(study: optuna.Study, summary: Summary) -> list[Plot]:
    if not summary.has_costs:
        return []
    names = study.metric_names or [summary.metric, *COSTS]
    sentence = "No trial on the front is beaten in all objectives by another. One training each."
    return [Plot("Pareto front", sentence, lambda: optuna.visualization.plot_pareto_front(study, target_names=names))]


def _hyperparameter_plots(
    study: optuna.Study, summary: Summary, found: Confirmation | None, important: dict[str, Interval], varied: list[str]
) -> list[Plot]:
    """What the hyperparameters do: importances, slices, pairs."""
    plots = []
    if important:
        sentence = (
            "How much each hyperparameter decides whether a trial is among the best (PED-ANOVA); lines are 95 % intervals of the "
            "bootstrap over trials."
        )
        plots.append(Plot("Importances", sentence, lambda: importance_figure(important)))
    if varied:
        sentence = "The objective over each hyperparameter alone; diamonds are corrected means over fresh seeds, where there are any."
        plots += [
            Plot("Slices", sentence, lambda: slices(study, summary, found, params=varied)),
            Plot(
                "Parallel coordinates",
                "Each line is a completed trial.",
                lambda: optuna.visualization.plot_parallel_coordinate(study, params=varied, **_target(summary)),
            ),
        ]
    if len(varied) > 1 and len(summary.ranked) > 2:
        best = summary.ranked[:N_CONTOUR_TRIALS]
        only = "" if len(best) == len(summary.ranked) else f" of the {len(best)} best trials"
        few = [name for name in varied if len({t.params.get(name) for t in best}) > 1][:N_CONTOURS]
        if len(few) > 1:
            plots.append(
                Plot(
                    "Contours",
                    f"The objective over pairs of hyperparameters{only}.",
                    lambda: optuna.visualization.plot_contour(study_of(best, summary), params=few, target_name=summary.metric),
                )
            )
    return plots


def _styled(title: str, figure: go.Figure) -> go.Figure:
    """One look for Optuna's figures and ours; rows of small plots get room and few ticks."""
    figure.update_layout(LAYOUT, title=None, width=None, autosize=True, plot_bgcolor=None)  # the template's, light or dark
    if title in ("Slices", "Contours"):
        figure.update_xaxes(nticks=4, title_font_size=11, tickfont_size=10)
        figure.update_yaxes(nticks=4, title_font_size=11, tickfont_size=10)
    if title == "Contours":
        figure.update_layout(height=900)
    return figure
