"""Figures of a study for the report and Optuna Dashboard, and their order in the report, with a
sentence about each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from tuning.confirmation.rounds import Confirmation
from tuning.evaluation.statistics import Interval
from tuning.report.tables import trial_label, with_best
from tuning.spaces.loading import SearchSpace
from tuning.study.importances import MIN_TRIALS, importances, study_of
from tuning.study.summary import Summary, best_of
from tuning.study.trials import epoch_values, is_pruned_early, step_of

CROSSES = "Crosses, if any, are pruned trials, at their last value before they were stopped."
N_CURVES = 12  # Maximum number of curves: readers can't distinguish more lines.
# The newest pruned trials are drawn. The number is limited because Optuna Dashboard keeps the
# figure in the storage.
N_PRUNED_CURVES = 100
MAX_TICKS = 20  # Maximum number of epochs, or of trials, of which each has a tick.
N_SLICES = 8  # Maximum number of slices: readers can't read more axes side by side.
N_CONTOURS = 4  # Maximum number of hyperparameters in the contours; 4 give 12 plots.
# A slice shows whether the metric rises or falls. Four points are in perfect order by chance in 2
# of 24 cases, five points in 2 of 120.
MIN_SLICE_TRIALS = 5
# A surface of two variables with a peak has 6 coefficients; 6 more trials measure the noise.
MIN_CONTOUR_TRIALS = 12
# A contour is a grid of all pairs of values. With 500 trials, 12 contours would make a page of
# 60 MB.
N_CONTOUR_TRIALS = 50
PRUNED_MARKER = {"symbol": "x", "size": 8, "color": "#8a94a0"}
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
    study: optuna.Study,
    summary: Summary,
    space: SearchSpace,
    confirmation: Confirmation | None = None,
) -> list[tuple[str, str, go.Figure | None]]:
    """Return title, sentence and figure of each plot, in the order of the report. Where a study has
    too few completed trials for a figure, the figure is None and the sentence has their number. A
    plot that no number of trials allows is left out.
    """
    n, few = len(summary.ranked), "This figure needs {} completed trials; this study has {}."
    return [
        (plot.title, plot.sentence, _styled(plot.title, plot.draw()))
        if n >= plot.n_trials
        else (plot.title, few.format(plot.n_trials, n), None)
        for plot in _plots(study, summary, space, confirmation)
    ]


def _plots(
    study: optuna.Study, summary: Summary, space: SearchSpace, confirmation: Confirmation | None
) -> Iterator[Plot]:
    if summary.has_costs:
        yield Plot(
            "Pareto front",
            "No other trial is better in all objectives than a trial on the front. Each value is"
            f" {summary.each_value}.",
            lambda: optuna.visualization.plot_pareto_front(study),
            2,
        )
    so_far = "" if summary.has_costs else ", and the best value so far"
    yield Plot(
        "Optimization history",
        f"The objective of each completed trial{so_far}. {CROSSES}",
        lambda: history(study, summary),
        2,
    )
    yield Plot(
        "Learning curves",
        f"The objective after each {summary.step}. Thin gray lines are pruned trials, of which at"
        f" most the newest {N_PRUNED_CURVES} are shown; a cross is where a trial was stopped.",
        lambda: learning_curves(summary, confirmation),
    )
    importance_of = importances(summary)
    ordered = sorted(
        (item.name for item in space.searched if not item.conditions),
        key=lambda name: -importance_of.get(name, 0.0),
    )
    if importance_of or len(summary.ranked) < MIN_TRIALS:
        yield Plot(
            "Importances",
            "How much each hyperparameter decides whether a trial is in the best tenth of the"
            " completed trials (PED-ANOVA).",
            lambda: importance_figure(importance_of),
            MIN_TRIALS,
        )
    varied = _varied(ordered, summary.ranked)
    if varied or (ordered and len(summary.ranked) < MIN_SLICE_TRIALS):
        some = f" {N_SLICES} of {len(varied)} hyperparameters are shown."
        yield Plot(
            "Slices",
            f"The objective of completed trials over each hyperparameter alone. {CROSSES}"
            f"{some if len(varied) > N_SLICES else ''}",
            lambda: slices(study, summary, params=varied[:N_SLICES]),
            MIN_SLICE_TRIALS,
        )
    yield from _contour_plots(summary, ordered)


def _varied(names: list[str], trials: Sequence[FrozenTrial]) -> list[str]:
    return [name for name in names if len({trial.params.get(name) for trial in trials}) > 1]


def _contour_plots(summary: Summary, names: list[str]) -> Iterator[Plot]:
    best = summary.ranked[:N_CONTOUR_TRIALS]
    few = _varied(names, best)[:N_CONTOURS]
    if len(names) < 2 or (len(few) < 2 and len(best) >= MIN_CONTOUR_TRIALS):
        return
    yield Plot(
        "Contours",
        "The objective over pairs of hyperparameters, drawn between the points of at most the"
        f" {N_CONTOUR_TRIALS} best trials.",
        lambda: optuna.visualization.plot_contour(
            study_of(best, summary), params=few, target_name=summary.metric
        ),
        MIN_CONTOUR_TRIALS,
    )


def _styled(title: str, figure: go.Figure) -> go.Figure:
    # Without a color of its own a figure has the background of its template, light or dark.
    figure.update_layout(LAYOUT, title=None, width=None, autosize=True, plot_bgcolor=None)
    if title in ("Slices", "Contours"):
        figure.update_xaxes(nticks=4, title_font_size=11, tickfont_size=10)
        figure.update_yaxes(nticks=4, title_font_size=11, tickfont_size=10)
    if title == "Contours":
        figure.update_layout(height=900)
    return figure


def learning_curves(summary: Summary, confirmation: Confirmation | None = None) -> go.Figure:
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
    figure.update_xaxes(title=summary.step, dtick=1 if n_epochs <= MAX_TICKS else None)
    figure.update_yaxes(title=summary.metric)
    return figure


def _add_pruned_curves(figure: go.Figure, pruned: Sequence[FrozenTrial]) -> None:
    if not pruned:
        return
    # All trials share one trace for their lines and one for their ends, so that a click on the
    # legend hides all of them.
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
            f"trial {trial.number}, pruned after {step_of(trial)} {end:g}"
            for trial, end in zip(pruned, ends, strict=True)
        ],
        "mode": "markers",
        "marker": PRUNED_MARKER,
        "name": "pruned (last value)",
    }


def history(study: optuna.Study, summary: Summary) -> go.Figure:
    figure = optuna.visualization.plot_optimization_history(study, **_target(summary))
    pruned = pruned_trials(summary)  # Optuna draws completed trials alone.
    if pruned:
        figure.add_scatter(**_pruned_marks(pruned), x=[trial.number for trial in pruned])
    figure.update_xaxes(dtick=1 if len(summary.trials) <= MAX_TICKS else None)
    return figure


def importance_figure(importance_of: dict[str, float]) -> go.Figure:
    names = list(reversed(importance_of))
    values = [importance_of[name] for name in names]
    figure = go.Figure(layout=LAYOUT)
    figure.add_bar(
        x=values,
        y=names,
        orientation="h",
        text=[f"{value:.2f}" for value in values],
        textposition="inside",
        insidetextanchor="start",
    )
    figure.update_xaxes(title="importance", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    return figure


def slices(study: optuna.Study, summary: Summary, *, params: list[str]) -> go.Figure:
    figure = optuna.visualization.plot_slice(study, params=params, **_target(summary))
    pruned = pruned_trials(summary)
    if not pruned:
        return figure
    # The x axis of each plot of the row has the hyperparameter's name.
    axes = dict.fromkeys((drawn.xaxis or "x", drawn.yaxis or "y") for drawn in figure.data)
    for number, (x, y) in enumerate(axes):
        axis = figure.layout[f"xaxis{x[1:]}"]
        points = [trial.params.get(axis.title.text) for trial in pruned]
        if axis.type == "category":
            points = [repr(point) for point in points]  # Optuna's names of categories.
        figure.add_scatter(
            **_pruned_marks(pruned),
            x=points,
            xaxis=x,
            yaxis=y,
            showlegend=number == 0,
            legendgroup="pruned",
        )
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
