"""Starting points: their values, and the points that are refused."""

from typing import Any

import pytest

from tuning.errors import SpaceError
from tuning.spaces.ranges import Hyperparameter, Value, Values
from tuning.spaces.starting_points import resolve_points

SPACE = (
    Hyperparameter(name="n_classes", kind="fixed", default=2),
    Hyperparameter(name="length", kind="int", default=8, low=4, high=16, step=4),
    Hyperparameter(name="dropout", kind="float", default=0.2, low=0.0, high=0.5, step=0.1),
    Hyperparameter(name="bias", kind="choice", default=False, choices=(False, True)),
    Hyperparameter(name="cell", kind="choice", default="lstm", choices=("lstm", "gru", "cnn")),
    Hyperparameter(
        name="units", kind="int", default=9, low=8, high=64, conditions=(("cell", ("lstm",)),)
    ),
    Hyperparameter(
        name="units", kind="int", default=3, low=2, high=4, conditions=(("cell", ("gru",)),)
    ),
)
BASELINE: Values = {
    "n_classes": 2,
    "length": 8,
    "dropout": 0.2,
    "bias": False,
    "cell": "lstm",
    "units": 9,
}


def resolve(*points: Any) -> tuple[Values, ...]:
    return resolve_points(list(points), SPACE, space="mine")


@pytest.mark.parametrize(
    ("point", "differs"),
    [
        ({"length": 12}, {"length": 12}),
        ({"units": 10, "bias": True}, {"units": 10, "bias": True}),
        ({"cell": "gru"}, {"cell": "gru", "units": 3}),
        ({"units": 4, "cell": "gru"}, {"cell": "gru", "units": 4}),
        ({"n_classes": 2, "length": 16}, {"length": 16}),
    ],
)
def test_point_has_the_defaults_of_all_else_that_is_active(point: Values, differs: Values) -> None:
    assert resolve(point) == ({**BASELINE, **differs},)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [("length", 12.0, 12), ("dropout", 0, 0.0), ("dropout", 0.1 + 0.2, 0.1 + 0.2)],
)
def test_value_has_the_type_of_its_hyperparameter(name: str, given: Value, value: Value) -> None:
    (point,) = resolve({name: given, "cell": "cnn"})
    assert "units" not in point
    assert point[name] == value
    assert type(point[name]) is type(value)


def test_points_equal_to_the_baseline_or_an_earlier_point_are_left_out() -> None:
    points = resolve({}, {"length": 8}, {"length": 12}, {"length": 12.0, "cell": "lstm"}, BASELINE)
    assert points == ({**BASELINE, "length": 12},)


@pytest.mark.parametrize("points", [None, [], ()])
def test_no_points(points: object) -> None:
    assert resolve_points(points, SPACE, space="mine") == ()


@pytest.mark.parametrize("points", [{"length": 12}, "length", 3])
def test_points_that_are_no_list_are_refused(points: object) -> None:
    with pytest.raises(SpaceError, match="starting_points of mine must be a list of dicts; it is"):
        resolve_points(points, SPACE, space="mine")


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ([12], "it is [12]."),
        ({"lenght": 12}, "it gives 'lenght' the value 12, and the space has n_classes, length,"),
        ({"length": 20}, "4 to 16, step 4; it gives 20."),
        ({"length": 10}, "4 to 16, step 4; it gives 10."),
        ({"length": "8"}, "4 to 16, step 4; it gives '8'."),
        ({"length": True}, "4 to 16, step 4; it gives True."),
        ({"length": [8]}, "4 to 16, step 4; it gives [8]."),
        ({"length": None}, "4 to 16, step 4; it gives None."),
        ({"dropout": 0.25}, "0 to 0.5, step 0.1; it gives 0.25."),
        ({"dropout": float("nan")}, "0 to 0.5, step 0.1; it gives nan."),
        ({"bias": 1}, "False, True; it gives 1."),
        ({"cell": "rnn"}, "lstm, gru, cnn; it gives 'rnn'."),
        ({"n_classes": 5}, "fixed at 2; it gives 5."),
        ({"cell": "gru", "units": 9}, "2 to 4; it gives 9"),
        ({"cell": "cnn", "units": 3}, "only where cell is lstm or cell is gru; here cell is cnn."),
    ],
)
def test_wrong_point_is_refused_with_its_number(point: Any, says: str) -> None:
    with pytest.raises(SpaceError) as raised:
        resolve({"length": 12}, point)
    assert str(raised.value).startswith("Starting point 2 of mine must ")
    assert says in str(raised.value)
