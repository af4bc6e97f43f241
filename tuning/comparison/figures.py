"""Plotly figures of a comparison: accuracy against each cost, and the learning speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from tuning.comparison.document import ComparedReference, Comparison
from tuning.comparison.standings import Standing
from tuning.evaluation.statistics import pareto_front
from tuning.report.figures import LAYOUT

# Colors of spaces, in their order, that differ on white and on black, also for readers who can't
# tell red from green (Okabe and Ito, 2008; black and yellow are left out).
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a94a0")
SYMBOLS = ("circle", "square", "diamond", "triangle-up")
REFERENCE_COLOR = "#8a94a0"
FIGURE_HEIGHT = 340
MARGIN = 1.25  # factor between the outermost values and the ends of a logarithmic axis
MIN_TICKS = 3


@dataclass(frozen=True)
class Cost:
    """A cost that accuracy is drawn against.

    Args:
        attribute: name of the attribute of a `Standing`.
        title: title of the figure.
        unit: title of the axis.
    """

    attribute: str
    title: str
    unit: str

    def of(self, standing: Standing) -> float | None:
        value: float | None = getattr(standing, self.attribute)
        return value


COSTS = (
    Cost("seconds", "Accuracy and training time", "seconds of one training"),
    Cost("n_parameters", "Accuracy and size", "parameters"),
    Cost("latency_ms", "Accuracy and latency", "milliseconds for a text"),
)


def color_of(number: int) -> str:
    """The color of a space in every figure and in the table."""
    return COLORS[number % len(COLORS)]


def symbol_of(number: int) -> str:
    """The marker of a space. Spaces of the same color have different markers."""
    return SYMBOLS[number // len(COLORS) % len(SYMBOLS)]


def cost_figure(
    cost: Cost, standings: Sequence[Standing], references: Sequence[ComparedReference]
) -> go.Figure:
    """Draw the confirmed accuracy of each space over a cost, with its interval, and the front: the
    spaces that no other space beats in accuracy at the same or a lower cost.

    A reference is a dashed line, with a cross at its training time.
    """
    figure = go.Figure(layout={**LAYOUT, "height": FIGURE_HEIGHT, "showlegend": False})
    drawn = [
        (number, x, standing)
        for number, standing in enumerate(standings)
        if standing.accuracy is not None and (x := cost.of(standing)) is not None
    ]
    _add_front(figure, [(x, _mean(standing)) for _, x, standing in drawn])
    for number, x, standing in drawn:
        _add_point(figure, number, x, standing)
    _add_references(figure, references, side="left")
    if cost.attribute == "seconds":
        _add_training_times(figure, references)
    xs = [x for _, x, _ in drawn]
    if cost.attribute == "seconds":
        xs += [reference.seconds for reference in references]
    figure.update_xaxes(title=cost.unit, type="log", **_log_axis(xs))
    figure.update_yaxes(title="validation accuracy")
    return figure


def _log_axis(values: Sequence[float]) -> dict[str, Any]:
    """The range and the ticks of a logarithmic axis; Plotly's own ticks are digits without their
    power of ten.
    """
    positive = [value for value in values if value > 0]
    if not positive:
        return {}
    low, high = min(positive) / MARGIN, max(positive) * MARGIN
    for digits in ((1, 10), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        inside = sorted({tick for tick in ticks if low <= tick <= high})
        if len(inside) >= MIN_TICKS:
            break
    return {
        "range": [math.log10(low), math.log10(high)],
        "tickvals": inside,
        "ticktext": [_short(tick) for tick in inside],
    }


def _short(value: float) -> str:
    """A number as a tick: 0.5, 20, 700k, 1.5M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:.3g}"


def _add_front(figure: go.Figure, points: Sequence[tuple[float, float]]) -> None:
    """Draw the front of points (cost, accuracy) as steps, if it has more than one point."""
    best_first = sorted(points, key=lambda point: (-point[1], point[0]))
    front = sorted(pareto_front(best_first, lambda point: (point[0],)))
    if len(front) > 1:
        figure.add_scatter(
            x=[x for x, _ in front],
            y=[y for _, y in front],
            mode="lines",
            line={"shape": "hv", "width": 1.5, "dash": "dot", "color": REFERENCE_COLOR},
            hoverinfo="skip",
            name="front",
        )


def _add_training_times(figure: go.Figure, references: Sequence[ComparedReference]) -> None:
    for reference in references:
        figure.add_scatter(
            x=[reference.seconds],
            y=[reference.accuracy],
            mode="markers",
            marker={"symbol": "x", "size": 9, "color": REFERENCE_COLOR},
            name=reference.name,
            hovertemplate=f"{reference.seconds:.3g} s, {reference.accuracy:.4f}",
        )


def _mean(standing: Standing) -> float:
    assert standing.accuracy is not None  # for mypy: only confirmed spaces are drawn
    return standing.accuracy.value


def _add_point(figure: go.Figure, number: int, x: float, standing: Standing) -> None:
    accuracy = standing.accuracy
    assert accuracy is not None  # for mypy: only confirmed spaces are drawn
    figure.add_scatter(
        x=[x],
        y=[accuracy.value],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [accuracy.high - accuracy.value],
            "arrayminus": [accuracy.value - accuracy.low],
            "thickness": 1.5,
        },
        mode="markers",
        marker={"size": 11, "color": color_of(number), "symbol": symbol_of(number)},
        name=standing.name,
        hovertemplate=f"{x:,.4g}, {accuracy}",
    )


def _add_references(
    figure: go.Figure, references: Sequence[ComparedReference], *, side: str
) -> None:
    """Draw each reference as a dashed line, with the text of the best above its line and of the
    others below, so that close lines keep their texts apart. Narrow figures, whose texts are on the
    left, have room for the accuracy alone.
    """
    best_first = sorted(references, key=lambda standing: -standing.accuracy)
    for number, reference in enumerate(best_first):
        figure.add_hline(
            y=reference.accuracy,
            line={"dash": "dash", "width": 1.5, "color": REFERENCE_COLOR},
            annotation={
                "text": f"{reference.accuracy:.4f}"
                if side == "left"
                else f"{reference.name}, {reference.accuracy:.4f}",
                "font": {"size": 11},
            },
            annotation_position=f"{'bottom' if number else 'top'} {side}",
        )


def learning_speed(comparison: Comparison) -> go.Figure:
    """Draw the best validation accuracy of each search so far against the clock of that search."""
    figure = go.Figure(layout={**LAYOUT, "height": 420})
    for number, space in enumerate(comparison.spaces):
        if not space.curve:
            continue
        last = space.curve[-1][1]
        points = [*space.curve, (max(space.seconds, space.curve[-1][0]), last)]
        figure.add_scatter(
            x=[seconds / 60 for seconds, _ in points],
            y=[value for _, value in points],
            mode="lines+markers",
            line={"shape": "hv", "color": color_of(number)},
            marker={"size": 5, "symbol": symbol_of(number)},
            name=space.name,
        )
    _add_references(figure, comparison.references, side="right")
    figure.update_xaxes(title="minutes of the search", rangemode="tozero")
    figure.update_yaxes(title="best validation accuracy so far")
    return figure
