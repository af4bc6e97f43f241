"""Plotly figures of a study, for the report and the Dashboard."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from tuning.config import COSTS
from tuning.confirmation.estimates import estimate
from tuning.confirmation.rounds import Confirmation
from tuning.evaluation.statistics import Interval
from tuning.report.importances import MIN_INTERVAL_TRIALS, MIN_TRIALS, importances, study_of
from tuning.report.tables import trial_label, with_best
from tuning.spaces.loading import SearchSpace
from tuning.study.summary import PHASES, Summary, best_of
from tuning.study.trials import is_pruned_early

N_CURVES = 12  # more lines than this can't be told apart
N_SLICES = 8  # more axes side by side can't be read
N_CONTOURS = 4
N_PRUNED_CURVES = 100  # the newest; the Dashboard keeps the figure in the storage
# A slice shows whether the metric rises or falls: four points are in perfect order by chance in 2
# of 24 cases, five in 2 of 120.
MIN_SLICE_TRIALS = 5
# a surface of two variables with a peak has 6 coefficients; as many trials again measure the noise
MIN_CONTOUR_TRIALS = 12
# a contour is a grid of all pairs of values: at 500 trials, 12 of them would make a page of 60 MB
N_CONTOUR_TRIALS = 50
PRUNED_MARKER = {"symbol": "x", "size": 8, "color": "#8a94a0"}
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 30, "t": 40, "b": 60},
    "font": {"size": 13},
    "legend": {
        "orientation": "h",
        "y": -0.18,
    },  # below, so that a phone keeps its width for the plot
}


def learning_curves(summary: Summary, found: Confirmation | None = None) -> go.Figure:
    """The objective after each epoch: the best trials, the baseline dashed, and pruned trials up to
    their last epoch.
    """
    best = best_of(summary, found)
    figure = go.Figure(layout=LAYOUT)
    for trial in with_best(summary.ranked[:N_CURVES], summary, best):
        epochs = sorted(trial.intermediate_values)
        is_baseline = trial is summary.baseline
        figure.add_scatter(
            x=epochs,
            y=[trial.intermediate_values[epoch] for epoch in epochs],
            mode="lines+markers",
            name=trial_label(trial, summary, best),
            line={"dash": "dash", "color": "gray"} if is_baseline else {},
        )
    _add_pruned_curves(figure, pruned_trials(summary)[-N_PRUNED_CURVES:])
    figure.update_xaxes(title="epoch", dtick=1)
    figure.update_yaxes(title=summary.metric)
    return figure


def _add_pruned_curves(figure: go.Figure, pruned: Sequence[FrozenTrial]) -> None:
    """Thin grey lines, each with a cross at its end; two traces however many trials there are, so
    that one legend entry hides all.
    """
    if not pruned:
        return
    x: list[int | None] = []
    y: list[float | None] = []
    for trial in pruned:
        epochs = sorted(trial.intermediate_values)
        x += [*epochs, None]  # None ends a line
        y += [*(trial.intermediate_values[epoch] for epoch in epochs), None]
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
    ends = [max(trial.intermediate_values) for trial in pruned]
    figure.add_scatter(**_pruned_marks(pruned), x=ends, legendgroup="pruned")


def pruned_trials(summary: Summary) -> list[FrozenTrial]:
    """The trials that were trained and stopped before their last epoch, in order of number."""
    return [
        trial for trial in summary.trials if is_pruned_early(trial) and trial.intermediate_values
    ]


def _pruned_marks(pruned: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Crosses at the last values of pruned trials; what is missing is x."""
    ends = [max(trial.intermediate_values) for trial in pruned]
    return {
        "y": [trial.intermediate_values[end] for trial, end in zip(pruned, ends, strict=True)],
        "text": [
            f"trial {trial.number}, pruned after epoch {end}"
            for trial, end in zip(pruned, ends, strict=True)
        ],
        "mode": "markers",
        "marker": PRUNED_MARKER,
        "name": "pruned (last value)",
    }


def history(study: optuna.Study, summary: Summary) -> go.Figure:
    """The objective of each completed trial, the best so far, and the last value of each pruned
    trial.
    """
    figure = optuna.visualization.plot_optimization_history(study, **_target(summary))
    pruned = pruned_trials(summary)
    if pruned:
        figure.add_scatter(**_pruned_marks(pruned), x=[trial.number for trial in pruned])
    return figure


def baseline_against_best(summary: Summary, found: Confirmation | None = None) -> go.Figure:
    """Validation metrics of the baseline and of the best trial, side by side; once where the best
    is the baseline.
    """
    figure = go.Figure(layout=LAYOUT)
    names = ("val_accuracy", "val_balanced_accuracy", "val_f1", "val_auc")
    best = best_of(summary, found)
    for trial in with_best([summary.baseline] if summary.baseline else [], summary, best):
        values = [trial.user_attrs.get(name) for name in names]
        texts = [f"{value:.3f}" if value is not None else "" for value in values]
        figure.add_bar(x=list(names), y=values, text=texts, name=trial_label(trial, summary, best))
    figure.update_yaxes(title="value", range=[0, 1])
    return figure


def cost(summary: Summary) -> go.Figure:
    """Seconds of each trial by phase."""
    timed = [t for t in summary.trials if "seconds" in t.user_attrs]
    figure = go.Figure(layout={**LAYOUT, "barmode": "stack"})
    for phase in PHASES:
        figure.add_bar(
            x=[t.number for t in timed],
            y=[t.user_attrs["seconds"].get(phase, 0.0) for t in timed],
            name=phase,
        )
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="seconds")
    return figure


def importance_figure(found: dict[str, Interval]) -> go.Figure:
    """Importances as horizontal bars, with their intervals where they have some."""
    names = list(reversed(found))
    values = [found[name].value for name in names]
    has_intervals = not all(math.isnan(one.low) for one in found.values())
    error = (
        {"type": "data", "symmetric": False, **_bars([found[name] for name in names])}
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
    study: optuna.Study, summary: Summary, found: Confirmation | None, *, params: list[str]
) -> go.Figure:
    """The objective over each hyperparameter, pruned trials at their last value, and the corrected
    means of the confirmation.
    """
    figure = optuna.visualization.plot_slice(study, params=params, **_target(summary))
    pruned = pruned_trials(summary)
    if pruned:
        _add_to_each(figure, [trial.params for trial in pruned], **_pruned_marks(pruned))
    judgement = estimate(found) if found else None
    if found is None or judgement is None:
        return figure
    confirmed = [one for one in found.finalists if one.trial in judgement.means]
    means = [judgement.means[one.trial] for one in confirmed]
    _add_to_each(
        figure,
        [one.values for one in confirmed],
        y=[mean.value for mean in means],
        error_y={"type": "data", "symmetric": False, **_bars(means)},
        text=[f"trial {one.trial}" for one in confirmed],
        mode="markers",
        marker={"symbol": "diamond", "size": 10, "color": "#d9480f"},
        name="confirmed on fresh seeds",
    )
    return figure


def _add_to_each(figure: go.Figure, values: Sequence[Mapping[str, Any]], **trace: Any) -> None:
    """Add a trace to each plot of a row of slices, whose x are the values of the hyperparameter in
    its axis' title.
    """
    axes = dict.fromkeys((drawn.xaxis or "x", drawn.yaxis or "y") for drawn in figure.data)
    for number, (x, y) in enumerate(axes):
        axis = figure.layout[f"xaxis{x[1:]}"]
        found = [one.get(axis.title.text) for one in values]
        shown = (
            [repr(value) for value in found] if axis.type == "category" else found
        )  # as Optuna names categories
        figure.add_scatter(
            **trace, x=shown, xaxis=x, yaxis=y, showlegend=number == 0, legendgroup=trace["name"]
        )


def _bars(intervals: list[Interval]) -> dict[str, list[float]]:
    """Error bars; an interval that is not known has none, and a bootstrap's may lie to one side of
    its value.
    """
    ends = [
        (0.0, 0.0) if math.isnan(one.low) else (one.high - one.value, one.value - one.low)
        for one in intervals
    ]
    return {
        "array": [max(up, 0.0) for up, _ in ends],
        "arrayminus": [max(down, 0.0) for _, down in ends],
    }


def _target(summary: Summary) -> dict[str, Any]:
    """What Optuna's figures draw: the metric. Of a single objective they know it, and its best
    value so far, by themselves.
    """
    named = {"target_name": summary.metric}
    return {**named, "target": lambda trial: trial.values[0]} if summary.has_costs else named


@dataclass(frozen=True)
class Plot:
    """A plot of the report: its title, one sentence, what draws it, and how many completed trials
    it needs, with the reason as a clause.
    """

    title: str
    sentence: str
    draw: Callable[[], go.Figure]
    n_trials: int = 1
    why: str = ""


def report_figures(
    study: optuna.Study, summary: Summary, space: SearchSpace, found: Confirmation | None = None
) -> list[tuple[str, str, go.Figure | None]]:
    """Title, one sentence and figure of each plot of the report, in its order.

    Where there are too few completed trials, the sentence says how many the figure needs, and the
    figure is None. A plot that no number of trials allows, such as slices where nothing is
    searched, is left out.
    """
    important = importances(summary)
    ordered = sorted(
        (i.name for i in space.searched if not i.conditions),
        key=lambda n: -important[n].value if n in important else 0.0,
    )
    plots = [
        Plot(
            "Baseline against best",
            _best_sentence(summary, found),
            lambda: baseline_against_best(summary, found),
        ),
        *_front_plots(study, summary),
        Plot(
            "Optimisation history",
            f"The objective of each completed trial, and the best so far.{_crosses(summary)}",
            lambda: history(study, summary),
            2,
            "one trial has no course",
        ),
        Plot("Learning curves", _curves_sentence(summary), lambda: learning_curves(summary, found)),
        *_importance_plots(summary, important),
        *_slice_plots(study, summary, found, ordered),
        *_contour_plots(summary, ordered),
        Plot("Cost", "Seconds of each trial by phase.", lambda: cost(summary)),
    ]
    return [_drawn(plot, n_complete=len(summary.ranked)) for plot in plots]


def _drawn(plot: Plot, *, n_complete: int) -> tuple[str, str, go.Figure | None]:
    if n_complete < plot.n_trials:
        return (
            plot.title,
            (
                f"This figure needs {plot.n_trials} completed trials, because {plot.why}; this"
                f" study has {n_complete}."
            ),
            None,
        )
    return plot.title, plot.sentence, _styled(plot.title, plot.draw())


def _best_sentence(summary: Summary, found: Confirmation | None) -> str:
    best = best_of(summary, found)
    if best is None:
        return ""
    same = (
        f" The {best.name} is the baseline."
        if best.trial is summary.baseline
        else f" The best is the {best.name}."
    )
    return f"Validation metrics in the search, at the best epoch of each trial.{same}"


def _crosses(summary: Summary) -> str:
    """What the crosses are, where there are any."""
    return (
        " Crosses are pruned trials, at their last value before they were stopped."
        if pruned_trials(summary)
        else ""
    )


def _curves_sentence(summary: Summary) -> str:
    n_pruned = len(pruned_trials(summary))
    if not n_pruned:
        return "The objective after each epoch."
    which = (
        f"the newest {N_PRUNED_CURVES} of {n_pruned} pruned trials"
        if n_pruned > N_PRUNED_CURVES
        else "pruned trials"
    )
    return (
        f"The objective after each epoch. Thin grey lines are {which}, and end with a cross where"
        " the trial was stopped."
    )


def _front_plots(study: optuna.Study, summary: Summary) -> list[Plot]:
    if not summary.has_costs:
        return []
    names = study.metric_names or [summary.metric, *COSTS]
    sentence = "No trial on the front is beaten in all objectives by another. One training each."
    why = "one trial has no other to be compared with"
    return [
        Plot(
            "Pareto front",
            sentence,
            lambda: optuna.visualization.plot_pareto_front(study, target_names=names),
            2,
            why,
        )
    ]


def _importance_plots(summary: Summary, important: dict[str, Interval]) -> list[Plot]:
    n = len(summary.ranked)
    if n >= MIN_TRIALS and not important:
        return []
    interval = "Lines are 95 % intervals of the bootstrap over trials."
    if n < MIN_INTERVAL_TRIALS:
        interval = (
            f"There are no intervals: those need {MIN_INTERVAL_TRIALS} completed trials, five of"
            f" them in the best tenth, and this study has {n}. The best tenth of a resample of"
            " fewer trials is too often a single trial that was drawn several times."
        )
    sentence = (
        "How much each hyperparameter decides whether a trial is among the best tenth (PED-ANOVA)."
        f" {interval}"
    )
    why = (
        "it compares the best tenth of the trials with all of them, and a tenth of fewer is less"
        " than two"
    )
    return [Plot("Importances", sentence, lambda: importance_figure(important), MIN_TRIALS, why)]


def _varied(names: list[str], trials: Sequence[FrozenTrial]) -> list[str]:
    return [name for name in names if len({trial.params.get(name) for trial in trials}) > 1]


def _slice_plots(
    study: optuna.Study, summary: Summary, found: Confirmation | None, names: list[str]
) -> list[Plot]:
    """The objective over single hyperparameters, and over all of them at once."""
    varied = _varied(names, summary.ranked)
    if not names or (not varied and len(summary.ranked) >= MIN_SLICE_TRIALS):
        return []
    some = (
        ""
        if len(varied) <= N_SLICES
        else f" {N_SLICES} of {len(varied)} hyperparameters are shown."
    )
    varied = varied[:N_SLICES]
    sentence = (
        f"The objective of completed trials over each hyperparameter alone.{_crosses(summary)}"
        f" Diamonds are corrected means over fresh seeds, where there are any.{some}"
    )
    why = "fewer points are often in order by chance"
    return [
        Plot(
            "Slices",
            sentence,
            lambda: slices(study, summary, found, params=varied),
            MIN_SLICE_TRIALS,
            why,
        ),
        Plot(
            "Parallel coordinates",
            "Each line is a completed trial; pruned trials are left out, because their values are"
            f" of fewer epochs.{some}",
            lambda: optuna.visualization.plot_parallel_coordinate(
                study, params=varied, **_target(summary)
            ),
            MIN_SLICE_TRIALS,
            why,
        ),
    ]


def _contour_plots(summary: Summary, names: list[str]) -> list[Plot]:
    """The objective over pairs of the most important hyperparameters."""
    best = summary.ranked[:N_CONTOUR_TRIALS]
    few = _varied(names, best)[:N_CONTOURS]
    if len(names) < 2 or (len(few) < 2 and len(best) >= MIN_CONTOUR_TRIALS):
        return []
    which = (
        "completed trials" if len(best) == len(summary.ranked) else f"the {len(best)} best trials"
    )
    return [
        Plot(
            "Contours",
            f"The objective over pairs of hyperparameters, drawn between the points of {which}.",
            lambda: optuna.visualization.plot_contour(
                study_of(best, summary), params=few, target_name=summary.metric
            ),
            MIN_CONTOUR_TRIALS,
            "a surface drawn between fewer points follows their noise",
        )
    ]


def _styled(title: str, figure: go.Figure) -> go.Figure:
    """One look for Optuna's figures and ours; rows of small plots get room and few ticks."""
    figure.update_layout(
        LAYOUT, title=None, width=None, autosize=True, plot_bgcolor=None
    )  # the template's, light or dark
    if title in ("Slices", "Contours"):
        figure.update_xaxes(nticks=4, title_font_size=11, tickfont_size=10)
        figure.update_yaxes(nticks=4, title_font_size=11, tickfont_size=10)
    if title == "Contours":
        figure.update_layout(height=900)
    return figure
