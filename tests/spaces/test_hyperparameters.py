"""KerasTuner's hyperparameters as Optuna's distributions: the mapping in both directions, and
JSON.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import keras_tuner
import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuning.errors import SpaceError
from tuning.spaces.hyperparameters import (
    declared,
    from_params,
    key,
    optuna_names,
    replay,
    suggest,
    to_params,
)
from tuning.spaces.ranges import Hyperparameter, Values

HP = keras_tuner.HyperParameters
Space = tuple[Hyperparameter, ...]
optuna.logging.set_verbosity(optuna.logging.WARNING)
# The same examples in every run; an example's time depends on what else the machine does.
generated = settings(max_examples=60)


def space_of(declare: Callable[[HP], object]) -> Space:
    hp = HP()
    declare(hp)
    return declared(hp)


def hyperparameter_of(declare: Callable[[HP], object]) -> Hyperparameter:
    (item,) = space_of(declare)
    return item


def ask(space: Space, *, seed: int = 0) -> tuple[optuna.Trial, Values]:
    """Return a trial of a random study in memory, and its suggested values."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    return trial, suggest(trial, space)


LOG = {"sampling": "log"}
DOUBLED = {"sampling": "log", "step": 2}


def cells(hp: HP) -> None:
    """Declare two cells, each with its own range under the same name."""
    hp.Choice("cell", ["lstm", "gru", "none"])
    with hp.conditional_scope("cell", ["lstm"]):
        hp.Int("units", 8, 64, default=32)
    with hp.conditional_scope("cell", ["gru"]):
        hp.Int("units", 2, 4, default=3)
        hp.Boolean("reset_after")
    hp.Fixed("n_classes", 2)


@pytest.mark.parametrize(
    ("method", "arguments", "options", "distribution", "text"),
    [
        ("Int", (1, 9), {}, IntDistribution(1, 9), "1 to 9"),
        ("Int", (10, 40), {"step": 10}, IntDistribution(10, 40, step=10), "10 to 40, step 10"),
        # Optuna warns of a range that its steps do not divide.
        ("Int", (6, 13), {"step": 3}, IntDistribution(6, 12, step=3), "6 to 12, step 3"),
        ("Int", (2, 2_000), LOG, IntDistribution(2, 2_000, log=True), "2 to 2000, log"),
        ("Int", (2, 17), DOUBLED, CategoricalDistribution((2, 4, 8, 16)), "2, 4, 8, 16"),
        ("Float", (0, 0.5), {}, FloatDistribution(0.0, 0.5), "0 to 0.5"),
        ("Float", (0, 1), {"step": 0.3}, FloatDistribution(0, 0.9, step=0.3), "0 to 0.9, step 0.3"),
        ("Float", (0.01, 1), LOG, FloatDistribution(0.01, 1.0, log=True), "0.01 to 1, log"),
        ("Float", (0.5, 2), DOUBLED, CategoricalDistribution((0.5, 1.0, 2.0)), "0.5, 1.0, 2.0"),
        ("Choice", (["x", "y"],), {}, CategoricalDistribution(("x", "y")), "x, y"),
        ("Boolean", (), {}, CategoricalDistribution((False, True)), "False, True"),
        ("Fixed", (7,), {}, None, "fixed"),
    ],
)
def test_declaration_is_a_distribution_and_a_range(
    method: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    distribution: BaseDistribution | None,
    text: str,
) -> None:
    item = hyperparameter_of(lambda hp: getattr(hp, method)("a", *arguments, **options))
    assert ask((item,))[0].distributions == ({"a": distribution} if distribution else {})
    assert item.range_text() == text


def test_optuna_names_join_values_and_parents() -> None:
    def declare(hp: HP) -> None:
        hp.Choice("cell", ["lstm", "gru", "none"])
        with hp.conditional_scope("cell", ["lstm", "gru"]):
            hp.Boolean("deep")
            with hp.conditional_scope("deep", [True]):
                hp.Int("units", 1, 2)
        with hp.conditional_scope("cell", ["none"]):
            hp.Int("units", 3, 4)

    assert optuna_names(space_of(declare))[2:] == [
        "units[cell=lstm|gru,deep=True]",
        "units[cell=none]",
    ]


def test_declared_refuses_reverse_log_and_says_what_to_use() -> None:
    with pytest.raises(SpaceError, match="'momentum' must be sampled"):
        space_of(lambda hp: hp.Float("momentum", 0.5, 0.99, sampling="reverse_log"))


@pytest.mark.parametrize(
    ("method", "bounds", "options", "received"),
    [
        ("Int", (1, 9), {"default": 10}, "1 to 9; it is 10"),
        ("Int", (10, 40), {"step": 10, "default": 15}, "10 to 40, step 10; it is 15"),
        ("Int", (1, 9), {"default": 2.5}, "1 to 9; it is 2.5"),
        ("Int", (1, 9), {"default": "2"}, "1 to 9; it is '2'"),
        ("Float", (0.1, 0.5), {**LOG, "default": 0.05}, "0.1 to 0.5, log; it is 0.05"),
        ("Int", (2, 16), {**DOUBLED, "default": 6}, "2, 4, 8, 16; it is 6"),
    ],
)
def test_declared_refuses_default_outside_its_range(
    method: str, bounds: tuple[float, float], options: dict[str, Any], received: str
) -> None:
    with pytest.raises(SpaceError) as refused:
        space_of(lambda hp: getattr(hp, method)("a", *bounds, **options))
    assert f"'a' must lie in its range, {received}." in str(refused.value)


@pytest.mark.parametrize(
    ("method", "default"), [("Int", np.int64(250)), ("Float", np.float32(0.5))]
)
def test_default_of_numpy_is_a_number_of_python(method: str, default: Any) -> None:
    item = hyperparameter_of(lambda hp: getattr(hp, method)("a", 0, 400, default=default))
    assert item.default == default and type(item.default) in (int, float)


@pytest.mark.parametrize(
    ("low", "high", "factor"),
    [(1e-4, 9e-4, 3), (0.1, 0.3, 3), (1e-3, 9e-3, 3), (3e-4, 3e-2, 10), (1e-6, 1e-4, 10)],
)
def test_declared_factor_range_holds_its_upper_end(low: float, high: float, factor: float) -> None:
    item = hyperparameter_of(
        lambda hp: hp.Float("a", low, high, step=factor, sampling="log", default=high)
    )
    assert item.choices[-1] == high


@pytest.mark.parametrize("only_for", [(), ("lstm", "gru")], ids=["unconditional", "overlapping"])
def test_declared_refuses_a_name_with_two_ranges_active_at_once(only_for: tuple[str, ...]) -> None:
    # Which of the two ranges its value has to lie in would be a matter of chance.
    both: list[Declaration] = [
        ("Int", "units", (1, 9), {}, only_for),
        ("Int", "units", (20, 30), {}, ("lstm",)),
    ]
    with pytest.raises(SpaceError, match="units"):
        declared(declare_all(HP(), both))


def test_from_params_names_the_missing_parameter() -> None:
    with pytest.raises(SpaceError, match=r"must contain 'units\[cell=lstm\]'; it has cell\."):
        from_params({"cell": "lstm"}, space_of(cells))


Declaration = tuple[str, str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]


def declare_all(hp: HP, declarations: list[Declaration]) -> HP:
    hp.Choice("cell", ["lstm", "gru", "none"])
    for method, name, arguments, options, only_for in declarations:
        with hp.conditional_scope("cell", list(only_for)) if only_for else contextlib.nullcontext():
            getattr(hp, method)(name, *arguments, **options)
    return hp


@st.composite
def ranges(draw: st.DrawFn) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Draw a method of `HyperParameters` and its arguments after the name, for every row of the
    mapping.
    """
    low, n, step = draw(st.integers(-5, 50)), draw(st.integers(0, 20)), draw(st.integers(1, 7))
    above = max(low, 1)  # logarithms start above 0
    hundredths = round(low / 100, 2)
    factor = draw(st.sampled_from([2, 3, 10]))
    return draw(
        st.sampled_from(
            [
                ("Int", (low, low + n), {}),
                ("Int", (low, low + n * step), {"step": step}),
                ("Int", (above, above + n), {"sampling": "log"}),
                ("Int", (above, above * factor**2), {"step": factor, "sampling": "log"}),
                ("Float", (hundredths, hundredths + n / 8), {}),
                ("Float", (low / 8, low / 8 + n / 4), {"step": 0.25}),
                ("Float", (0.0, round(n * 0.05, 2)), {"step": 0.05}),
                ("Float", (above / 1000, above / 1000 + n), {"sampling": "log"}),
                ("Float", (above / 8, above / 8 * factor**2), {"step": factor, "sampling": "log"}),
                ("Choice", ([low, low + n + 1],), {}),
                ("Choice", ([hundredths, hundredths + n + 1],), {}),
                ("Choice", (["pre", "post", ""],), {}),
                ("Boolean", (), {}),
                ("Fixed", (draw(st.sampled_from([0, 0.0, 1, 0.5, False, "x"])),), {}),
            ]
        )
    )


@st.composite
def declarations(draw: st.DrawFn) -> list[Declaration]:
    """Draw hyperparameters without a condition, under one condition, and under two conditions."""
    drawn_declarations: list[Declaration] = []
    for name in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        for only_for in draw(
            st.sampled_from([[()], [("lstm",)], [("lstm", "gru")], [("lstm",), ("gru", "none")]])
        ):
            method, arguments, options = draw(ranges())
            drawn_declarations.append((method, name, arguments, options, only_for))
    return drawn_declarations


seeds = st.integers(0, 2**31 - 1)


@generated
@given(declarations(), seeds)
def test_suggest_gives_each_active_hyperparameter_a_legal_value(
    drawn: list[Declaration], seed: int
) -> None:
    space = declared(declare_all(HP(), drawn))
    _, values = ask(space, seed=seed)
    active = [item for item in space if item.is_active(values)]
    assert set(values) == {item.name for item in active}
    assert [item for item in active if not item.is_legal(values[item.name])] == []


@generated
@given(declarations(), seeds)
def test_params_round_trip(drawn: list[Declaration], seed: int) -> None:
    space = declared(declare_all(HP(), drawn))
    trial, values = ask(space, seed=seed)
    assert to_params(values, space) == trial.params
    assert repr(from_params(trial.params, space)) == repr(values)


@generated
@given(declarations(), seeds)
def test_replay_gives_the_values_through_the_declarations(
    drawn: list[Declaration], seed: int
) -> None:
    _, values = ask(declared(declare_all(HP(), drawn)), seed=seed)
    hp = declare_all(replay(values), drawn)
    assert hp.values == values
    assert {name: hp.get(name) for name in values} == values


values = st.fixed_dictionaries(
    {
        "vocab_size": st.integers(3, 6),
        "sequence_length": st.integers(1, 3),
        "units": st.integers(1, 2),
        "kind": st.sampled_from("ab"),
    }
)


@generated
@given(known_values=values, proposed_values=values)
def test_only_equal_values_are_the_same_configuration(
    known_values: Values, proposed_values: Values
) -> None:
    """A vocabulary or a length beyond the data is another configuration, because a space may use
    either value for any purpose.
    """
    assert (key(known_values) == key(proposed_values)) == (known_values == proposed_values)


def test_values_that_differ_in_their_last_digit_are_one_configuration() -> None:
    assert key({"dropout": 0.3, "n": 1}) == key({"dropout": 0.1 + 0.2, "n": 1})
    assert key({"rate": 1e-5}) != key({"rate": 1.0001e-5})
