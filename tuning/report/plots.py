"""The plots of the report in their order, each with a sentence about its contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from tuning.confirmation.rounds import Confirmation
from tuning.evaluation.statistics import Interval
from tuning.report import figures
from tuning.report.figures import LAYOUT, N_LINES, N_PRUNED_CURVES, pruned_trials
from tuning.spaces.loading import SearchSpace
from tuning.study.importances import MIN_INTERVAL_TRIALS, MIN_TRIALS, importances
from tuning.study.summary import Summary, best_of

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


@dataclass(frozen=True)
class Plot:
    """A plot that needs `n_trials` completed trials. `why`: the reason, as a clause without
    "because".
    """

    title: str
    sentence: str
    draw: Callable[[], go.Figure]
    n_trials: int = 1
    why: str = ""


def report_figures(
    study: optuna.Study,
    summary: Summary,
    space: SearchSpace,
    confirmation: Confirmation | None = None,
) -> list[tuple[str, str, go.Figure | None]]:
    """Return title, sentence and figure of each plot of the report, in its order.

    If a study has too few completed trials for a figure, the sentence contains the number of trials
    that the figure needs, and the figure is None. A plot that no number of trials allows, such as
    slices of a study that searches no hyperparameter, is left out.
    """
    importance_of = importances(summary)
    ordered = sorted(
        (item.name for item in space.searched if not item.conditions),
        key=lambda name: -importance_of[name].value if name in importance_of else 0.0,
    )
    so_far = "" if summary.has_costs else ", and the best value so far"
    plots = [
        Plot(
            "Baseline against best",
            _best_sentence(summary, confirmation),
            lambda: figures.baseline_against_best(summary, confirmation),
        ),
        *_front_plots(study, summary),
        Plot(
            "Optimization history",
            f"The objective of each completed trial{so_far}.{_crosses(summary)}",
            lambda: figures.history(study, summary),
            2,
            "a single trial has no history",
        ),
        Plot(
            "Learning curves",
            _curves_sentence(summary),
            lambda: figures.learning_curves(summary, confirmation),
        ),
        *_importance_plots(summary, importance_of),
        *_slice_plots(study, summary, confirmation, ordered),
        *_contour_plots(summary, ordered),
        Plot("Cost", "Seconds of each trial by phase.", lambda: figures.cost(summary)),
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


def _best_sentence(summary: Summary, confirmation: Confirmation | None) -> str:
    best = best_of(summary, confirmation)
    if best is None:
        return ""
    same = (
        f" The {best.name} is the baseline."
        if best.trial is summary.baseline
        else f" The best trial is the {best.name}."
    )
    return f"Validation metrics in the search, at the best epoch of each trial.{same}"


def _crosses(summary: Summary) -> str:
    return (
        " Crosses are pruned trials, at their last value before they were stopped."
        if pruned_trials(summary)
        else ""
    )


def _curves_sentence(summary: Summary) -> str:
    n_pruned = len(pruned_trials(summary))
    if not n_pruned:
        return "The objective after each epoch."
    lines = (
        f"the newest {N_PRUNED_CURVES} of {n_pruned} pruned trials"
        if n_pruned > N_PRUNED_CURVES
        else "pruned trials"
    )
    return (
        f"The objective after each epoch. Thin gray lines are {lines}; a cross is where a trial was"
        " stopped."
    )


def _front_plots(study: optuna.Study, summary: Summary) -> list[Plot]:
    if not summary.has_costs:
        return []
    sentence = (
        "No other trial is better in all objectives than a trial on the front. Each value is of one"
        " training."
    )
    why = "a single trial can't be compared with another"
    return [
        Plot(
            "Pareto front",
            sentence,
            lambda: figures.pareto_front(study, summary),
            2,
            why,
        )
    ]


def _importance_plots(summary: Summary, importance_of: dict[str, Interval]) -> list[Plot]:
    n = len(summary.ranked)
    if n >= MIN_TRIALS and not importance_of:
        return []
    interval = "Lines are 95 % intervals of the bootstrap over trials."
    if n < MIN_INTERVAL_TRIALS:
        interval = (
            f"The figure has no intervals: they need {MIN_INTERVAL_TRIALS} completed trials, five"
            f" of them in the best tenth, and this study has {n}. The best tenth of a resample of"
            " fewer trials is too often a single trial that was drawn several times."
        )
    sentence = (
        "How much each hyperparameter decides whether a trial is in the best tenth (PED-ANOVA)."
        f" {interval}"
    )
    why = (
        "PED-ANOVA compares the best tenth of the trials with all trials, and a tenth of fewer"
        " trials is less than two"
    )
    return [
        Plot(
            "Importances",
            sentence,
            lambda: figures.importance_figure(importance_of),
            MIN_TRIALS,
            why,
        )
    ]


def _varied(names: list[str], trials: Sequence[FrozenTrial]) -> list[str]:
    return [name for name in names if len({trial.params.get(name) for trial in trials}) > 1]


def _slice_plots(
    study: optuna.Study, summary: Summary, confirmation: Confirmation | None, names: list[str]
) -> list[Plot]:
    varied = _varied(names, summary.ranked)
    if not names or (not varied and len(summary.ranked) >= MIN_SLICE_TRIALS):
        return []
    shown = (
        ""
        if len(varied) <= N_SLICES
        else f" {N_SLICES} of {len(varied)} hyperparameters are shown."
    )
    varied = varied[:N_SLICES]
    best = f" of the best {N_LINES}" if len(summary.ranked) > N_LINES else ""
    sentence = (
        f"The objective of completed trials over each hyperparameter alone.{_crosses(summary)}"
        f" Diamonds are corrected means over fresh seeds, if the study has any.{shown}"
    )
    why = "fewer points are often in order by chance"
    return [
        Plot(
            "Slices",
            sentence,
            lambda: figures.slices(study, summary, confirmation, params=varied),
            MIN_SLICE_TRIALS,
            why,
        ),
        Plot(
            "Parallel coordinates",
            f"Each line is a completed trial{best}; pruned trials are left out, because their"
            f" values are of fewer epochs.{shown}",
            lambda: figures.parallel_coordinates(study, summary, params=varied),
            MIN_SLICE_TRIALS,
            why,
        ),
    ]


def _contour_plots(summary: Summary, names: list[str]) -> list[Plot]:
    best = summary.ranked[:N_CONTOUR_TRIALS]
    few = _varied(names, best)[:N_CONTOURS]
    if len(names) < 2 or (len(few) < 2 and len(best) >= MIN_CONTOUR_TRIALS):
        return []
    points = (
        "completed trials" if len(best) == len(summary.ranked) else f"the {len(best)} best trials"
    )
    return [
        Plot(
            "Contours",
            f"The objective over pairs of hyperparameters, drawn between the points of {points}.",
            lambda: figures.contours(best, summary, params=few),
            MIN_CONTOUR_TRIALS,
            "a surface drawn between fewer points follows their noise",
        )
    ]


def _styled(title: str, figure: go.Figure) -> go.Figure:
    """Give the figures of Optuna and of this package the same style; rows of small plots get few
    ticks in a small font.
    """
    # Without a color of its own a figure has the background of its template, light or dark.
    figure.update_layout(LAYOUT, title=None, width=None, autosize=True, plot_bgcolor=None)
    if title in ("Slices", "Contours"):
        figure.update_xaxes(nticks=4, title_font_size=11, tickfont_size=10)
        figure.update_yaxes(nticks=4, title_font_size=11, tickfont_size=10)
    if title == "Contours":
        figure.update_layout(height=900)
    return figure
