"""The figures of a comparison."""

import pytest

from tests.comparisons import REFERENCES, comparison_of, standing, standings, unconfirmed
from tuning.comparison.figures import COSTS, Cost, color_of, cost_figure, learning_speed, symbol_of


@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.attribute)
def test_front_has_the_spaces_that_no_other_beats(cost: Cost) -> None:
    space_standings = [
        standing("cheap", 0.80, [0.0, 0.001], **{cost.attribute: 1}),
        standing("beaten", 0.79, [0.0, 0.001], **{cost.attribute: 5}),
        standing("best", 0.90, [0.0, 0.001], **{cost.attribute: 9}),
        unconfirmed("none"),
    ]
    figure = cost_figure(cost, space_standings, [])
    front, *points = figure.data
    assert (front.name, list(front.x)) == ("front", [1.0, 9.0])
    assert list(front.y) == pytest.approx([0.8005, 0.9005])
    assert [point.name for point in points] == ["cheap", "beaten", "best"]
    assert points[0].error_y.array[0] == pytest.approx(points[0].error_y.arrayminus[0])


def test_references_are_lines_and_a_cross_at_their_time() -> None:
    seconds, size, latency = (cost_figure(cost, standings(), REFERENCES) for cost in COSTS)
    for figure in (seconds, size, latency):
        assert [line.y0 for line in figure.layout.shapes] == [0.8891, 0.8790]
    assert [trace.x[0] for trace in seconds.data if trace.marker.symbol == "x"] == [21.0, 38.0]
    assert not [trace for trace in size.data if trace.marker.symbol == "x"]


def test_logarithmic_axis_has_readable_ticks() -> None:
    axis = cost_figure(COSTS[1], standings(), []).layout.xaxis
    assert list(axis.ticktext) == ["700k", "1M", "1.5M", "2M", "3M"]


def test_learning_speed_ends_with_the_search() -> None:
    figure = learning_speed(comparison_of([*standings(), unconfirmed("none")]))
    assert len(figure.data) == 5
    assert figure.data[0].x[-1] == 10.0
    assert figure.data[0].y[-1] == figure.data[0].y[-2]


def test_spaces_have_different_marks() -> None:
    marks = {(color_of(number), symbol_of(number)) for number in range(28)}
    assert len(marks) == 28
