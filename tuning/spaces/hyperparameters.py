"""Convert KerasTuner's hyperparameters to Optuna's parameters, and their values back.

| KerasTuner | Optuna |
|---|---|
| `Int`, `Float`, linear, with or without `step` | `suggest_int`, `suggest_float` with `step` |
| `Int`, `Float`, `sampling="log"` | `suggest_int`, `suggest_float` with `log=True` |
| the same with `step` (a factor) | `suggest_categorical` over its values |
| `Choice`, `Boolean` | `suggest_categorical` |
| `Fixed` | no parameter: a constant |
| `sampling="reverse_log"` | refused |
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from tuning.errors import SpaceError
from tuning.spaces.ranges import ROUNDING, Hyperparameter, Value, Values

if TYPE_CHECKING:
    import keras_tuner
    import optuna


def declared(hp: keras_tuner.HyperParameters) -> tuple[Hyperparameter, ...]:
    space = tuple(_convert(item) for item in hp.space)
    for first, second in itertools.combinations(space, 2):
        if first.name == second.name and not _exclusive(first, second):
            raise SpaceError(
                f"A name must have one range at a time; {first.name!r} is declared as"
                f" {first.range_text()} and as {second.range_text()}, and both can be active. Give"
                " them different names, or conditions that exclude each other."
            )
    for item in space:
        if not item.is_legal(item.default):
            raise SpaceError(
                f"The default of {item.name!r} must lie in its range, {item.range_text()}; it is"
                f" {item.default!r}. Widen the range or change default=."
            )
    return space


def _exclusive(first: Hyperparameter, second: Hyperparameter) -> bool:
    """Return whether no value of a common parent makes both active."""
    allowed = dict(first.conditions)
    return any(
        parent in allowed and not set(allowed[parent]) & set(values)
        for parent, values in second.conditions
    )


def _convert(item: Any) -> Hyperparameter:
    import keras_tuner.engine.hyperparameters as kt

    if isinstance(item, kt.Fixed):
        return Hyperparameter(
            name=item.name, kind="fixed", default=item.value, conditions=_conditions(item)
        )
    if isinstance(item, kt.Boolean):
        return _choice(item, bool(item.default), (False, True))
    if isinstance(item, kt.Choice):
        return _choice(item, item.default, tuple(item.values))
    if not isinstance(item, kt.Int | kt.Float):
        raise SpaceError(
            f"{item.name!r} must be an Int, Float, Choice, Boolean or Fixed; it is a"
            f" {type(item).__name__}."
        )
    if item.sampling not in ("linear", "log"):
        raise SpaceError(
            f"{item.name!r} must be sampled linear or log; Optuna has no {item.sampling!r}. "
            "Search over the distance from the upper end with log instead, and subtract in build()."
        )
    if item.sampling == "log" and item.step is not None:
        # The values low × stepⁿ within the range.
        n_steps = math.log(item.max_value / item.min_value) / math.log(item.step)
        powers = range(math.floor(n_steps + ROUNDING) + 1)
        values = tuple(_rounded(item.min_value * item.step**power) for power in powers)
        return _choice(item, item.default, values)
    high = item.max_value
    if item.step is not None:  # Optuna warns if a range is not a multiple of its step.
        n_steps = math.floor((high - item.min_value) / item.step + ROUNDING)
        high = _rounded(item.min_value + n_steps * item.step)
    return Hyperparameter(
        name=item.name,
        kind="int" if isinstance(item, kt.Int) else "float",
        # KerasTuner converts the bounds of NumPy's types, and not the default.
        default=item.default.item() if hasattr(item.default, "item") else item.default,
        low=item.min_value,
        high=high,
        step=item.step,
        log=item.sampling == "log",
        conditions=_conditions(item),
    )


def _choice(item: Any, default: Value, choices: tuple[Value, ...]) -> Hyperparameter:
    return Hyperparameter(
        name=item.name,
        kind="choice",
        default=default,
        choices=choices,
        conditions=_conditions(item),
    )


def _conditions(item: Any) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    return tuple((condition.name, tuple(condition.values)) for condition in item.conditions)


def _rounded(value: float) -> float:
    """Return 0.3 for 0.30000000000000004; an int stays as it is."""
    return value if isinstance(value, int) else float(f"{value:.12g}")


def key(values: Mapping[str, Value]) -> Hashable:
    """Return a key that is equal for equal configurations only. Floats are compared by 12 digits: a
    sampler draws 0.30000000000000004 on a step of 0.05 where a default is 0.3.

    Configurations with different values are different, even where both give the same inputs on
    these data: with a larger vocabulary an initializer may draw other weights for the same words,
    and a search space may use any value anywhere.
    """
    return tuple(
        (name, _rounded(value) if isinstance(value, float) else value)
        for name, value in sorted(values.items())
    )


def optuna_names(space: Sequence[Hyperparameter]) -> list[str]:
    """Return Optuna's parameter name of each hyperparameter: its name, followed by its condition if
    the space contains the name more than once.

    A study can't have two ranges of one name: `units` under two conditions becomes
    `units[cell=lstm]` and `units[cell=gru]`.
    """
    counts = Counter(item.name for item in space)

    def name_of(item: Hyperparameter) -> str:
        conditions = ",".join(f"{name}={'|'.join(map(str, v))}" for name, v in item.conditions)
        return item.name if counts[item.name] == 1 else f"{item.name}[{conditions}]"

    return [name_of(item) for item in space]


def active_values(
    space: Sequence[Hyperparameter], value_of: Callable[[Hyperparameter, str], Value]
) -> Values:
    """Return a value of each hyperparameter that is active under the values before it. `value_of`
    gets the hyperparameter and its name in Optuna.
    """
    values: Values = {}
    for item, name in zip(space, optuna_names(space), strict=True):
        if item.is_active(values):
            values[item.name] = value_of(item, name)
    return values


def suggest(trial: optuna.trial.BaseTrial, space: Sequence[Hyperparameter]) -> Values:
    return active_values(space, partial(_suggest_value, trial))


def _suggest_value(trial: optuna.trial.BaseTrial, item: Hyperparameter, name: str) -> Value:
    if item.kind == "fixed":
        return item.default
    if item.choices:
        return cast("Value", trial.suggest_categorical(name, item.choices))
    assert item.low is not None and item.high is not None  # for mypy: every int or float has both
    if item.kind == "int":
        return trial.suggest_int(
            name, int(item.low), int(item.high), step=int(item.step or 1), log=item.log
        )
    return trial.suggest_float(name, item.low, item.high, step=item.step, log=item.log)


def defaults(space: Sequence[Hyperparameter]) -> Values:
    """Return the baseline: each active hyperparameter at its default."""
    return active_values(space, lambda item, _: item.default)


def to_params(values: Mapping[str, Value], space: Sequence[Hyperparameter]) -> Values:
    pairs = zip(space, optuna_names(space), strict=True)
    return {
        name: values[item.name]
        for item, name in pairs
        if item.kind != "fixed" and item.is_active(values)
    }


def from_params(params: Mapping[str, Value], space: Sequence[Hyperparameter]) -> Values:
    def value_of(item: Hyperparameter, name: str) -> Value:
        if item.kind == "fixed":
            return item.default
        if name not in params:
            raise SpaceError(
                f"A trial's parameters must contain {name!r}; it has"
                f" {', '.join(sorted(params)) or 'none'}."
            )
        return params[name]

    return active_values(space, value_of)


def replay(values: Mapping[str, Value]) -> keras_tuner.HyperParameters:
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    # The values are set before the declarations: a declaration gives a name its default unless the
    # name has a value.
    hp.values = dict(values)
    return hp
