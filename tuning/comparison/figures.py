"""Plotly figures of a comparison: accuracy against each cost, and the learning speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from tuning.comparison.document import ComparedReference, Comparison
from tuning.comparison.standings import Standing
from tuning.report.costs import add_front, log_axis
from tuning.report.figures import LAYOUT

# Colors of spaces, in their order, that differ on white and on black, also for readers who can't
# distinguish red from green (Okabe and Ito, 2008; black and yellow are left out).
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a94a0")
SYMBOLS = ("circle", "square", "diamond", "triangle-up")
REFERENCE_COLOR = "#8a94a0"
FIGURE_HEIGHT = 340


@dataclass(frozen=True)
class Cost:
    """A cost over which the accuracy is drawn.

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
    """Return the color of a space in every figure and in the table."""
    return COLORS[number % len(COLORS)]


def symbol_of(number: int) -> str:
    """Return the marker of a space. Spaces of the same color have different markers."""
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
    add_front(figure, [(x, _mean(standing)) for _, x, standing in drawn])
    for number, x, standing in drawn:
        _add_point(figure, number, x, standing)
    _add_references(figure, references, side="left")
    if cost.attribute == "seconds":
        _add_training_times(figure, references)
    xs = [x for _, x, _ in drawn]
    if cost.attribute == "seconds":
        xs += [reference.seconds for reference in references]
    figure.update_xaxes(title=cost.unit, type="log", **log_axis(xs))
    figure.update_yaxes(title="validation accuracy")
    return figure


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
    """Draw each reference as a dashed line. The text of the best reference is above its line, and
    the other texts are below their lines, so the texts of close lines do not overlap. Narrow
    figures, whose texts are on the left, have room for the accuracy alone.
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
    """Draw the best validation accuracy so far over the wall time of each search."""
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
