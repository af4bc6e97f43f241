"""The quality of the models: their scores side by side, and the best model's confusion matrix, its
calibration, and its accuracy by class, text length and a column of the data.

The best model is the exported model on the test split, from the probabilities that its evaluation
has stored. Before an export it is a repeat of the best trial on the validation split, or on the
folds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go

from tuning.config import SPLITS
from tuning.confirmation.estimates import estimate
from tuning.confirmation.record import Confirmation
from tuning.evaluation.linear_reference import LinearReference
from tuning.evaluation.out_of_sample import kept_predictions
from tuning.evaluation.predictions import NOT_TEST, Column, Predictions, read_predictions
from tuning.evaluation.scores import TestDocument
from tuning.evaluation.slices import Slice, accuracy_on, calibration
from tuning.evaluation.statistics import Interval, value_text
from tuning.evaluation.test_split import BEST, SINGLE, exported_name, named_entries
from tuning.evaluation.thresholds import with_thresholds
from tuning.inputs.corpus import Corpus
from tuning.report.figures import LAYOUT, error_bars
from tuning.report.html_parts import plain
from tuning.report.tables import with_best
from tuning.study.handle import StudyHandle
from tuning.study.summary import Summary, best_of
from tuning.study.trials import value_of
from tuning.targets.kinds import constant_names

BEST_COLOR, OTHER_COLOR, REFERENCE_COLOR = "#0072b2", "#8a94a0", "#d9480f"
DASHED = {"dash": "dash", "width": 1.5, "color": OTHER_COLOR}
ROW_PIXELS = 46  # Height of a point with its name.
MAX_CLASS_NAME = 16  # Maximum number of characters of a class beside a confusion matrix.
MAX_COUNTED_CLASSES = 10  # With more classes, the cells of a confusion matrix have no numbers.
MAX_POINTS = 2_000  # maximum number of texts in a figure


@dataclass(frozen=True)
class Point:
    """A score with its interval, whose bounds are NaN if they are not known."""

    name: str
    score: Interval
    color: str
    detail: str = ""

    @property
    def label(self) -> str:
        return f"{plain(self.name)}{self.detail}"


def read_quality(
    study: StudyHandle, corpus: Corpus, *, columns: Mapping[str, Column]
) -> tuple[Predictions, str] | None:
    """Return predictions, and a text that says of which model and rows they are; None if none are
    stored. `columns` has the values of a column by split (`columns_of`); without it, the column
    that the export has stored is used.
    """
    folder, test, confirmation = study.folder, study.test_scores, study.confirmation
    target = corpus.target
    exported = with_thresholds(target, test.chosen_thresholds) if test else target
    when = test.test_looks[-1].when if test and test.test_looks else None
    seen = read_predictions(folder.test_predictions_path, exported)
    if test and seen and seen.when == when:
        about = f"{exported_name(test)} on the {len(seen.labels):,} texts of the test split"
        return replace(seen, column=columns.get("test", seen.column)), about
    best = study.best
    if best is None or confirmation is None:
        return None
    number = best.trial.number
    repeat = next(kept_predictions(folder, corpus, confirmation, trial=number), None)
    if repeat is None:
        return None
    splits, places = [corpus.split(name) for name in SPLITS[:2]], repeat.places
    rows = "texts of the validation split, on which the trial was chosen"
    if study.summary.step == "fold":
        rows = "texts of the folds"
    elif confirmation.is_resplit:
        rows = "validation rows that this seed has drawn"
    column = columns.get(NOT_TEST)
    known = Predictions(
        np.concatenate([split.labels for split in splits])[places],
        np.concatenate([split.texts.lengths for split in splits])[places],
        repeat.predictions.astype(np.float64),
        column=column and replace(column, codes=column.codes[places]),
        target=target,
    )
    about = f"The repeat of trial {number} on seed {repeat.seed}, on the {len(places):,} {rows}"
    return known, about


def points_on_test(test: TestDocument, metric: str) -> list[Point]:
    """Return a metric of each model on the test split; the constant references are left out."""
    best = [test.scores[name] for name in (BEST, SINGLE) if name in test.scores]
    points = []
    for name, entry in named_entries(test).items():
        numbers = [math.nan if bound is None else bound for bound in entry.interval(metric)]
        color = REFERENCE_COLOR if name in test.references else OTHER_COLOR
        color = BEST_COLOR if any(entry is other for other in best) else color
        if name not in constant_names():
            points.append(Point(name, Interval(*numbers), color))
    return points


def validation_points(
    summary: Summary, confirmation: Confirmation | None, linear: LinearReference | None
) -> list[Point]:
    """Return corrected means after a confirmation, else the values of the search."""
    best, estimates = best_of(summary, confirmation), estimate(confirmation)
    means = estimates.means if estimates and best and best.mean else {}
    points = []
    for trial in with_best([], summary, best):
        score = means.get(trial.number, Interval(value_of(trial), math.nan, math.nan))
        name, color = "baseline", OTHER_COLOR
        if best and trial is best.trial:
            name, color = best.name, BEST_COLOR
        points.append(Point(f"{name}, trial {trial.number}", score, color))
    value = linear.value(summary.metric) if linear else None
    if value is not None:
        bar = Interval(value, math.nan, math.nan)
        points.append(Point("linear model", bar, REFERENCE_COLOR))
    return points


def points_figure(
    points: Sequence[Point],
    *,
    title: str,
    line: float | None = None,
    with_bounds: bool = False,
) -> go.Figure:
    """Draw each point with its name and its value, and with `with_bounds` also its interval as
    text, for figures without a table beside them.
    """
    # The names are inside the plot, which therefore has the whole width of a phone.
    rows = range(len(points), 0, -1)
    figure = go.Figure(layout={**LAYOUT, "height": 90 + ROW_PIXELS * len(points)})
    # The top margin is for Plotly's buttons, which would cover the first name.
    figure.update_layout(showlegend=False, margin={"l": 12, "r": 24, "t": 34, "b": 50})
    for row, point in zip(rows, points, strict=True):
        score = point.score
        shown = score if with_bounds else value_text(score.value, score.low, score.high)
        figure.add_scatter(
            x=[point.score.value],
            y=[row],
            error_x=error_bars([point.score]),
            mode="markers",
            marker={"size": 11, "color": point.color},
            hovertemplate=f"{point.label}<br>{point.score}<extra></extra>",
        )
        figure.add_annotation(
            text=f"{point.label}: {shown}",
            showarrow=False,
            font={"size": 12},
            xref="paper",
            x=0,
            xanchor="left",
            y=row,
            yanchor="bottom",
            yshift=5,
        )
    if line is not None:
        figure.add_vline(x=line, line=DASHED)
    figure.update_xaxes(title=title, nticks=6)
    figure.update_yaxes(
        tickvals=list(rows),
        showticklabels=False,
        range=[0.6, len(points) + 0.75],
        zeroline=False,
    )
    return figure


def confusion_figure(seen: Predictions) -> go.Figure:
    k, predicted = seen.target.width, seen.target.decide(seen.probabilities)
    matrix = np.bincount(seen.labels * k + predicted, minlength=k * k).reshape(k, k)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [plain(name, width=MAX_CLASS_NAME) for name in seen.target.names]
    positions = list(range(len(names)))
    texts = [
        [f"{n:,}<br>{share:.1%}" for n, share in zip(*row, strict=True)]
        for row in zip(matrix, shares, strict=True)
    ]
    is_counted = len(names) <= MAX_COUNTED_CLASSES
    figure = go.Figure(layout={**LAYOUT, "height": min(130 + 70 * len(names), 640)})
    figure.add_heatmap(
        x=positions,
        y=positions,
        z=shares,
        zmin=0,
        zmax=1,
        text=texts,
        texttemplate="%{text}" if is_counted else None,
        hovertext=[
            [f"{true} → {predicted}<br>{text}" for predicted, text in zip(names, row, strict=True)]
            for true, row in zip(names, texts, strict=True)
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale="Blues",
        showscale=False,
        xgap=2,
        ygap=2,
    )
    ticks = {"tickvals": positions, "ticktext": names, "showgrid": False, "zeroline": False}
    figure.update_xaxes(title="predicted class", **ticks)
    figure.update_yaxes(title="true class", autorange="reversed", automargin=True, **ticks)
    return figure


def numbers_figure(seen: Predictions) -> go.Figure:
    # The texts have equal distances in the split, so every report draws the same.
    rows = np.unique(np.linspace(0, len(seen.labels) - 1, MAX_POINTS).astype(int))
    true, predicted = seen.labels[rows], seen.probabilities[rows, 0]
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    figure = go.Figure(layout={**LAYOUT, "showlegend": False, "height": 420})
    figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=DASHED)
    figure.add_scatter(
        x=true,
        y=predicted,
        mode="markers",
        marker={"size": 5, "opacity": 0.5, "color": BEST_COLOR},
        hovertemplate="label %{x:.7~r}, prediction %{y:.7~r}<extra></extra>",
    )
    figure.update_xaxes(title="label")
    figure.update_yaxes(title="prediction")
    return figure


def calibration_figure(seen: Predictions) -> go.Figure:
    bins = calibration(seen)
    figure = go.Figure(layout={**LAYOUT, "showlegend": False, "height": 360})
    x, values = [part.confidence for part in bins], [part.accuracy for part in bins]
    low = min([*x, *(part.low for part in values)])
    figure.add_shape(type="line", x0=low, y0=low, x1=1, y1=1, line=DASHED)
    figure.add_scatter(
        x=x,
        y=[part.value for part in values],
        error_y=error_bars(values),
        text=[f"{part.n_texts:,} texts, accuracy {part.accuracy}" for part in bins],
        hovertemplate="confidence %{x:.3f}, %{text}<extra></extra>",
        mode="lines+markers",
        marker={"size": 9},
        line={"color": BEST_COLOR},
    )
    figure.update_xaxes(title="confidence: probability of the prediction")
    figure.update_yaxes(title="accuracy")
    return figure


def slices_figure(seen: Predictions, slices: Sequence[Slice]) -> go.Figure:
    points = [
        Point(part.name, part.accuracy, BEST_COLOR, f", {part.n_texts:,} texts") for part in slices
    ]
    measure, overall = slices[0].measure, accuracy_on(seen).value
    line = None if measure == "F1" else overall
    return points_figure(points, title=measure, line=line, with_bounds=True)
