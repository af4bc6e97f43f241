"""Optuna's figures of a study for the report, in their order there, with a sentence about each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna import visualization

from tuning.evaluation.statistics import Interval
from tuning.spaces.hyperparameters import optuna_names
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import Summary

MAX_TICKS = 20  # Maximum number of epochs, or of trials, of which each has a tick.
# Maximum number of hyperparameters in a figure: readers can't read more axes side by side.
N_AXES = 8
# A figure shows whether the metric rises or falls with a hyperparameter. Four points are in perfect
# order by chance in 2 of 24 cases, five points in 2 of 120.
MIN_TRIALS_OF_AXES = 5
# PED-ANOVA, Optuna's default, compares the best tenth of the trials with all of them. In 100
# simulated studies of four hyperparameters, only one of which has an effect, that hyperparameter
# had the highest importance in 19 % of the studies of 4 trials, in 26 % with 8 trials (chance:
# 25 %), 70 % with 20 and 98 % with 50.
MIN_TRIALS_OF_IMPORTANCES = 20
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 30, "t": 40, "b": 60},
    "font": {"size": 13},
    # The legend is below the plot, so that the plot has the whole width of a phone.
    "legend": {"orientation": "h", "y": -0.18},
}


@dataclass(frozen=True)
class Plot:
    """A plot that needs `n_trials` completed trials."""

    title: str
    sentence: str
    draw: Callable[[], go.Figure]
    n_trials: int = 1


def report_figures(
    study: optuna.Study, summary: Summary, space: SearchSpace
) -> list[tuple[str, str, go.Figure | None]]:
    """Return title, sentence and figure of each plot, in the order of the report. Where a study has
    too few completed trials for a figure, the figure is None and the sentence has their number.
    """
    n, few = len(summary.ranked), "This figure needs {} completed trials; this study has {}."
    return [
        (plot.title, plot.sentence, _styled(plot))
        if n >= plot.n_trials
        else (plot.title, few.format(plot.n_trials, n), None)
        for plot in _plots(study, summary, space)
    ]


def _plots(study: optuna.Study, summary: Summary, space: SearchSpace) -> Iterator[Plot]:
    target = _target(summary)
    if summary.has_costs:
        yield Plot(
            "Pareto front",
            "No other trial is better in all objectives than a trial on the front. Each value is"
            f" {summary.each_value}.",
            lambda: visualization.plot_pareto_front(study),
            2,
        )
    so_far = "" if summary.has_costs else ", and the best value so far"
    yield Plot(
        "Optimization history",
        f"The objective of each completed trial{so_far}.",
        lambda: history(study, summary),
        2,
    )
    if any(trial.intermediate_values for trial in summary.trials):
        yield Plot(
            "Learning curves",
            f"The objective of each trial after each {summary.step}.",
            lambda: learning_curves(study, summary),
        )
    names = _varied(summary, space)
    if names:
        yield Plot(
            "Importances",
            "How much each hyperparameter decides whether a trial is in the best tenth of the"
            " completed trials (PED-ANOVA).",
            lambda: visualization.plot_param_importances(study, target_name=summary.metric),
            MIN_TRIALS_OF_IMPORTANCES,
        )
        some = f" {N_AXES} of {len(names)} hyperparameters are shown."
        shown = {"params": names[:N_AXES], **target}
        yield Plot(
            "Parallel coordinates",
            "A line is a completed trial, and an axis is a hyperparameter without a condition."
            f"{some if len(names) > N_AXES else ''}",
            lambda: visualization.plot_parallel_coordinate(study, **shown),
            MIN_TRIALS_OF_AXES,
        )
        yield Plot(
            "Slices",
            "The objective of completed trials over each hyperparameter alone."
            f"{some if len(names) > N_AXES else ''}",
            lambda: visualization.plot_slice(study, **shown),
            MIN_TRIALS_OF_AXES,
        )
    yield Plot(
        "Timeline",
        "When each trial began and ended.",
        lambda: visualization.plot_timeline(study),
    )


def _varied(summary: Summary, space: SearchSpace) -> list[str]:
    """Return Optuna's names of the hyperparameters without a condition that have several values."""
    names = [
        name
        for item, name in zip(
            space.hyperparameters, optuna_names(space.hyperparameters), strict=True
        )
        if item.kind != "fixed" and not item.conditions
    ]
    return [name for name in names if len({trial.params.get(name) for trial in summary.ranked}) > 1]


def _styled(plot: Plot) -> go.Figure:
    with warnings.catch_warnings():
        # PED-ANOVA warns of trials with equal values.
        warnings.simplefilter("ignore")
        figure = plot.draw()
    # Without a color of its own a figure has the background of its template, light or dark.
    figure.update_layout(LAYOUT, title=None, width=None, autosize=True, plot_bgcolor=None)
    if plot.title == "Slices":
        figure.update_xaxes(nticks=4, title_font_size=11, tickfont_size=10)
        figure.update_yaxes(nticks=4, title_font_size=11, tickfont_size=10)
    if plot.title == "Parallel coordinates":  # The names of the axes are below them.
        figure.update_layout(margin={"b": 110})
    return figure


def history(study: optuna.Study, summary: Summary) -> go.Figure:
    figure = visualization.plot_optimization_history(study, **_target(summary))
    figure.update_xaxes(dtick=1 if len(summary.trials) <= MAX_TICKS else None)
    return figure


def learning_curves(study: optuna.Study, summary: Summary) -> go.Figure:
    figure = visualization.plot_intermediate_values(study)
    n_steps = max((trial.last_step or 0 for trial in summary.trials), default=0)
    figure.update_xaxes(title=summary.step, dtick=1 if n_steps <= MAX_TICKS else None)
    figure.update_yaxes(title=summary.metric)
    # A legend of all trials would be longer than the figure.
    figure.update_layout(showlegend=False)
    return figure


def error_bars(intervals: Sequence[Interval]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        # A bootstrap's interval may lie to one side of its value, and a bound may be unknown.
        # max(0.0, NaN) is 0.0, because NaN is not greater.
        "array": [max(0.0, interval.high - interval.value) for interval in intervals],
        "arrayminus": [max(0.0, interval.value - interval.low) for interval in intervals],
    }


def _target(summary: Summary) -> dict[str, Any]:
    # Without `target`, Optuna draws the best value so far too, for studies of one objective alone.
    named = {"target_name": summary.metric}
    return {**named, "target": lambda trial: trial.values[0]} if summary.has_costs else named
