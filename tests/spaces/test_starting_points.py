"""Starting points: their values, those that get the n-grams of the linear model, and the points
that are refused.
"""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.errors import SpaceError
from tuning.spaces.hyperparameters import defaults
from tuning.spaces.ranges import Hyperparameter, Value, Values
from tuning.spaces.starting_points import CHOSEN, resolve_points, with_choice

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
    resolved, linear = resolve_points(list(points), SPACE, space="mine")
    assert linear == ()
    return resolved


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


@pytest.mark.parametrize("points", [{"length": 12}, "length", 3])
def test_points_that_are_no_list_are_refused(points: object) -> None:
    with pytest.raises(SpaceError, match="starting_points of mine must be a list of dicts; it is"):
        resolve_points(points, SPACE, space="mine")


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ([12], "it is [12]."),
        ({"lenght": 12}, "it gives 'lenght' the value 12, and the space has n_classes, length,"),
        ({"length": 10}, "4 to 16, step 4; it gives 10."),
        ({"length": "8"}, "4 to 16, step 4; it gives '8'."),
        ({"length": True}, "4 to 16, step 4; it gives True."),
        ({"length": [8]}, "4 to 16, step 4; it gives [8]."),
        ({"dropout": float("nan")}, "0 to 0.5, step 0.1; it gives nan."),
        ({"bias": 1}, "False, True; it gives 1."),
        ({"cell": "rnn"}, "lstm, gru, cnn; it gives 'rnn'."),
        ({"n_classes": 5}, "fixed at 2; it gives 5."),
        ({"cell": "gru", "units": 9}, "2 to 4; it gives 9"),
        ({"cell": "cnn", "units": 3}, "are active under its values; 'units' is not."),
    ],
)
def test_wrong_point_is_refused_with_its_number(point: Any, says: str) -> None:
    with pytest.raises(SpaceError) as raised:
        resolve({"length": 12}, point)
    assert str(raised.value).startswith("Starting point 2 of mine must ")
    assert says in str(raised.value)


def of_ngrams(*conditions: tuple[str, tuple[Value, ...]]) -> tuple[Hyperparameter, ...]:
    """Return the four hyperparameters that a linear model chooses, and one that depends on them."""
    values: dict[str, dict[str, Any]] = {
        "ngrams": {"kind": "int", "default": 3, "low": 1, "high": 3},
        "ngram_vocab_size": {"kind": "int", "default": 50, "low": 20, "high": 90, "log": True},
        "ngram_c": {"kind": "float", "default": 10.0, "low": 1.0, "high": 300.0, "log": True},
        "ngram_weighting": {"kind": "choice", "default": "ratios", "choices": ("ratios", "idf")},
    }
    return tuple(
        Hyperparameter(name=name, conditions=conditions, **values[name]) for name in values
    )


KIND = Hyperparameter(
    name="kind", kind="choice", default="words", choices=("words", "ngrams", "both")
)
BOTH = (KIND, *of_ngrams(("kind", ("ngrams", "both"))))


@pytest.mark.parametrize(
    ("points", "linear"),
    [
        ([{"kind": "ngrams"}, {"kind": "both"}], (1, 2)),
        ([{}, {"kind": "ngrams", "ngram_c": 10.0}, {"kind": "both"}], (2,)),
        *([[{"kind": "ngrams", name: value}], ()] for name, value in zip(
            CHOSEN, (3, 10.0, "ratios", 50), strict=True
        )),
        ([], ()),
    ],
)  # fmt: skip
def test_points_with_ngrams_get_those_of_the_linear_model_unless_they_name_them(
    points: list[Values], linear: tuple[int, ...]
) -> None:
    assert resolve_points(points, BOTH, space="mine")[1] == linear


@pytest.mark.parametrize("points", [(), [{"ngram_c": 30.0}]])
def test_baseline_with_ngrams_is_a_point_where_no_other_point_gets_those_of_the_linear_model(
    points: Any,
) -> None:
    space = of_ngrams()
    resolved, linear = resolve_points(points, space, space="mine")
    assert linear == (1,)
    assert resolved[0] == defaults(space)
    assert len(resolved) == len(points) + 1


def test_point_that_equals_a_baseline_with_ngrams_stays_for_those_of_the_linear_model() -> None:
    space = (replace(KIND, default="ngrams"), *BOTH[1:])
    points = [{"kind": "both"}, {"kind": "ngrams"}, {}, {"ngram_c": 10.0}]
    resolved, linear = resolve_points(points, space, space="mine")
    assert [point["kind"] for point in resolved] == ["both", "ngrams"]
    assert linear == (1, 2)


@pytest.mark.parametrize("missing", CHOSEN[:2])
def test_point_without_the_order_or_c_of_ngrams_gets_none(missing: str) -> None:
    space = [item for item in of_ngrams() if item.name != missing]
    assert resolve_points([], space, space="mine") == ((), ())


def test_choice_decides_what_else_is_active() -> None:
    pairs = Hyperparameter(
        name="pairs", kind="int", default=1, low=0, high=1, conditions=(("ngrams", (2,)),)
    )
    values = with_choice({**defaults(BOTH), "kind": "both"}, (*BOTH, pairs), {"ngrams": 2})
    assert values["ngrams"] == 2 and values["pairs"] == 1
    assert with_choice(defaults(BOTH), (*BOTH, pairs), {"ngrams": 2}) == {"kind": "words"}


@st.composite
def numbers(draw: st.DrawFn) -> Hyperparameter:
    """Draw a numeric range, with or without a step, or a choice of numbers."""
    kind = draw(st.sampled_from(["int", "float"]))
    low = draw(st.integers(1, 50))
    step = draw(st.sampled_from([None, 1, 3, 7] if kind == "int" else [None, 0.1, 0.25, 2.0]))
    high = low + draw(st.integers(0, 40)) * (step or 1)
    if draw(st.booleans()):
        choices = tuple(draw(st.lists(st.integers(1, 99), min_size=1, unique=True)))
        return Hyperparameter(name="ngram_c", kind="choice", default=choices[0], choices=choices)
    return Hyperparameter(
        name="ngram_c", kind=kind, default=low, low=low, high=float(f"{high:.12g}"), step=step
    )


@given(item=numbers(), value=st.one_of(st.integers(0, 120), st.floats(0, 120)))
def test_chosen_value_becomes_the_nearest_that_is_allowed(
    item: Hyperparameter, value: float
) -> None:
    chosen = with_choice({}, [item], {"ngram_c": value})["ngram_c"]
    assert isinstance(chosen, int | float) and item.is_legal(chosen)
    n_steps = round((item.high - item.low) / (item.step or 1)) if item.high and item.low else 0
    allowed = item.choices or [item.low + n * (item.step or 1) for n in range(n_steps + 1)]
    assert abs(chosen - value) <= min(abs(other - value) for other in allowed) + 1e-9


@pytest.mark.parametrize(
    "item",
    [
        Hyperparameter(name="ngram_weighting", kind="fixed", default="mine"),
        Hyperparameter(
            name="ngram_weighting", kind="choice", default="mine", choices=("other", "mine")
        ),
    ],
)
def test_chosen_word_that_is_not_allowed_leaves_the_default(item: Hyperparameter) -> None:
    assert with_choice({}, [item], {"ngram_weighting": "idf"}) == {"ngram_weighting": "mine"}
