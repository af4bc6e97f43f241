"""Plotly figures of a study, for the report and the Dashboard."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState

from tuning.confirmation import Confirmation, judge, sentences
from tuning.results import StudyDir
from tuning.spaces import SearchSpace
from tuning.summary import PHASES, Summary, value_of

N_CURVES = 12  # more lines than this can't be told apart
N_CONTOURS = 4
MIN_IMPORTANCE_TRIALS = 4
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 30, "t": 40, "b": 60},
    "font": {"size": 13},
    "legend": {"orientation": "h", "y": -0.18},  # below, so that a phone keeps its width for the plot
}


def read_history(folder: StudyDir, number: int) -> list[dict[str, float]]:
    """The epochs of one trial, empty where it has none."""
    path = folder.history_path(number)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def learning_curves(summary: Summary, folder: StudyDir) -> go.Figure:
    """The objective after each epoch: the best trials, and the baseline dashed."""
    shown = summary.ranked[:N_CURVES]
    if summary.baseline and summary.baseline not in shown:
        shown = [*shown, summary.baseline]
    figure = go.Figure(layout=LAYOUT)
    for trial in shown:
        history = read_history(folder, trial.number)
        is_baseline = trial is summary.baseline
        figure.add_scatter(
            x=[row["epoch"] for row in history],
            y=[row.get(summary.metric) for row in history],
            mode="lines+markers",
            name=f"baseline (trial {trial.number})" if is_baseline else f"trial {trial.number}",
            line={"dash": "dash", "color": "black"} if is_baseline else {},
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


def importances(study: optuna.Study, summary: Summary) -> dict[str, float]:
    """PED-ANOVA importances (Watanabe et al., IJCAI 2023), most important first; empty where there are too few trials."""
    if len(summary.ranked) < MIN_IMPORTANCE_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            evaluator = PedAnovaImportanceEvaluator()
            found: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError, ZeroDivisionError):  # all values equal, or no parameter in every trial
            return {}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def importance_figure(found: dict[str, float]) -> go.Figure:
    """Importances as horizontal bars."""
    names = list(reversed(found))
    figure = go.Figure(layout=LAYOUT)
    figure.add_bar(x=[found[n] for n in names], y=names, orientation="h", text=[f"{found[n]:.2f}" for n in names])
    figure.update_xaxes(title="importance")
    figure.update_yaxes(automargin=True)
    return figure


def report_figures(study: optuna.Study, summary: Summary, folder: StudyDir, space: SearchSpace) -> list[tuple[str, str, go.Figure]]:
    """Title, one sentence and figure of each plot of the report, in its order. A plot that the trials don't allow is left out."""
    target_name = summary.metric
    found = importances(study, summary)
    ordered = sorted((i.name for i in space.searched if not i.conditions), key=lambda name: -found.get(name, 0.0))
    complete = [t for t in summary.trials if t.state == TrialState.COMPLETE]
    varied = [name for name in ordered if len({t.params.get(name) for t in complete}) > 1]
    plots: list[tuple[str, str, Callable[[], Any]]] = [
        ("Baseline against best", "Validation metrics at the best epoch of each.", lambda: baseline_against_best(summary)),
        (
            "Optimisation history",
            "The objective of each completed trial, and the best so far.",
            lambda: optuna.visualization.plot_optimization_history(study, target_name=target_name),
        ),
        ("Learning curves", "The objective after each epoch.", lambda: learning_curves(summary, folder)),
    ]
    if varied:
        plots += [
            (
                "Slices",
                "The objective over each hyperparameter alone.",
                lambda: optuna.visualization.plot_slice(study, params=varied, target_name=target_name),
            ),
            (
                "Parallel coordinates",
                "Each line is a completed trial.",
                lambda: optuna.visualization.plot_parallel_coordinate(study, params=varied, target_name=target_name),
            ),
        ]
    if len(varied) > 1 and len(complete) > 2:
        plots.append(
            (
                "Contours",
                "The objective over pairs of hyperparameters.",
                lambda: optuna.visualization.plot_contour(study, params=varied[:N_CONTOURS], target_name=target_name),
            )
        )
    if found:
        plots.insert(
            3,
            (
                "Importances",
                "How much each hyperparameter decides whether a trial is among the best (PED-ANOVA).",
                lambda: importance_figure(found),
            ),
        )
    plots.append(("Cost", "Seconds of each trial by phase.", lambda: cost(summary)))
    return [(title, sentence, _styled(title, draw())) for title, sentence, draw in plots]


def _styled(title: str, figure: go.Figure) -> go.Figure:
    """One look for Optuna's figures and ours; rows of small plots get room and few ticks."""
    figure.update_layout(LAYOUT, title=None, width=None, autosize=True)
    if title in ("Slices", "Contours"):
        figure.update_xaxes(nticks=4, title_font_size=11, tickfont_size=10)
        figure.update_yaxes(nticks=4, title_font_size=11, tickfont_size=10)
    if title == "Contours":
        figure.update_layout(height=900)
    return figure


def verdict(summary: Summary, found: Confirmation | None = None) -> str:
    """What the search found, in one or two sentences; of a confirmed best, what the confirmation says."""
    judgement = judge(found) if found else None
    if found and judgement:
        return " ".join(sentences(found, judgement))
    best, baseline = summary.best, summary.baseline
    if best is None:
        return "No trial is complete yet."
    text = f"The best of {summary.n_finished} finished trials is trial {best.number} with {summary.metric} {value_of(best):.4f}"
    if baseline is None:
        return f"{text}; the baseline is not complete yet."
    if best is baseline:
        return f"{text}: the baseline itself. Nothing that was tried is better."
    change = value_of(best) - value_of(baseline)
    return (
        f"{text}, against {value_of(baseline):.4f} of the baseline (trial {baseline.number}), a difference of {change:+.4f}. "
        "Each is one training with one seed on the validation split, so a small difference may be chance."
    )


def comparison(name: str, found: dict[str, Any]) -> str:
    """A sentence on the best model against another on the test split."""
    change = found["accuracy_difference"]
    size = f"{change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}] accuracy, McNemar's p = {found['p_value']:.2g}"
    if change["low"] > 0:
        return f"The best is ahead of the {name} on the test split: {size}."
    if change["high"] < 0:
        return f"The best is behind the {name} on the test split: {size}."
    return f"The best can't be told from the {name} on the test split: {size}."
