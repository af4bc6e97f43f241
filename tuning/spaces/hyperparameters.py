"""The one place where KerasTuner's hyperparameters and Optuna's meet.

| KerasTuner | Optuna |
|---|---|
| `Int`, `Float`, linear, with or without `step` | `suggest_int`, `suggest_float` with `step` |
| `Int`, `Float`, `sampling="log"` | `suggest_int`, `suggest_float` with `log=True` |
| the same with `step` (a factor) | `suggest_categorical` over its values |
| `Choice`, `Boolean` | `suggest_categorical` |
| `Fixed` | nothing: a constant |
| `sampling="reverse_log"` | refused |

Optuna and KerasTuner are imported where they are used: a worker needs no Optuna, the coordinator no
KerasTuner.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from tuning.errors import SpaceError

if TYPE_CHECKING:
    import keras_tuner
    import optuna
    from optuna.distributions import BaseDistribution

ROUNDING = 1e-9  # 0.1 + 0.2 is 0.3
Value = bool | int | float | str
Values = dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One declared hyperparameter as data.

    `kind` is int, float, choice or fixed. `low`, `high`, `step` and `log` describe an int or float;
    `choices` a choice, or the values of a log range with a factor as its step. `conditions`: it is
    active when each named parent has one of the values.
    """

    name: str
    kind: str
    default: Value
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()
    conditions: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def is_active(self, values: Mapping[str, Value]) -> bool:
        return all(
            parent in values and values[parent] in allowed for parent, allowed in self.conditions
        )

    def is_legal(self, value: Value) -> bool:
        """Whether the value lies in the range and on its steps."""
        if self.kind == "fixed":
            return value == self.default
        if self.choices:
            return value in self.choices
        if not isinstance(value, int | float) or self.low is None or self.high is None:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        whole = self.kind == "float" or float(value).is_integer()
        return self.low <= value <= self.high and whole and abs(steps - round(steps)) < ROUNDING

    def range_text(self) -> str:
        """The range in words, such as "1000 to 40000, log"."""
        if self.kind == "fixed":
            return "fixed"
        if self.choices:
            return ", ".join(str(choice) for choice in self.choices)
        extra = (
            f", step {self.step:g}"
            if self.step and not (self.kind == "int" and self.step == 1)
            else ""
        )
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}{extra}"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        conditions = tuple(
            (parent, tuple(allowed)) for parent, allowed in values.get("conditions", ())
        )
        return cls(
            **{**values, "choices": tuple(values.get("choices", ())), "conditions": conditions}
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what is empty."""
        values = dataclasses.asdict(self).items()
        kept = {
            k: v for k, v in values if k == "default" or not (v is None or v is False or v == ())
        }
        return {
            **kept,
            **(
                {"conditions": [[p, list(a)] for p, a in self.conditions]}
                if self.conditions
                else {}
            ),
        }


def declared(hp: keras_tuner.HyperParameters) -> tuple[Hyperparameter, ...]:
    """What a `keras_tuner.HyperParameters` holds, as data, in order of declaration.

    Raises:
        SpaceError: a range that Optuna can't express, two ranges of one name at a time, or a
            default outside its range.
    """
    found = tuple(_convert(item) for item in hp.space)
    for first, second in itertools.combinations(found, 2):
        if first.name == second.name and not _exclusive(first, second):
            raise SpaceError(
                f"A name must have one range at a time; {first.name!r} is declared as"
                f" {first.range_text()} and as {second.range_text()}, and both can be active. Give"
                " them different names, or conditions that exclude each other."
            )
    for item in found:
        if not item.is_legal(item.default):
            raise SpaceError(
                f"The default of {item.name!r} must lie in its range, {item.range_text()}; it is"
                f" {item.default!r}. Widen the range or mend default=."
            )
    return found


def _exclusive(first: Hyperparameter, second: Hyperparameter) -> bool:
    """Whether some parent has values under which only one of them is active."""
    allowed = dict(first.conditions)
    return any(
        parent in allowed and not set(allowed[parent]) & set(values)
        for parent, values in second.conditions
    )


def _convert(item: Any) -> Hyperparameter:
    import keras_tuner.engine.hyperparameters as kt

    conditions = tuple((c.name, tuple(c.values)) for c in item.conditions)
    if isinstance(item, kt.Fixed):
        return Hyperparameter(
            name=item.name, kind="fixed", default=item.value, conditions=conditions
        )
    if isinstance(item, kt.Boolean):
        return Hyperparameter(
            name=item.name,
            kind="choice",
            default=bool(item.default),
            choices=(False, True),
            conditions=conditions,
        )
    if isinstance(item, kt.Choice):
        return Hyperparameter(
            name=item.name,
            kind="choice",
            default=item.default,
            choices=tuple(item.values),
            conditions=conditions,
        )
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
    kind = "int" if isinstance(item, kt.Int) else "float"
    log = item.sampling == "log"
    geometric = log and item.step is not None
    return Hyperparameter(
        name=item.name,
        kind="choice" if geometric else kind,
        default=item.default,
        low=None if geometric else item.min_value,
        high=(
            None
            if geometric
            else _last_step(item.min_value, item.max_value, None if log else item.step)
        ),
        step=None if log else item.step,
        log=log and not geometric,
        choices=_geometric(item.min_value, item.max_value, item.step) if geometric else (),
        conditions=conditions,
    )


def _last_step(low: float, high: float, step: float | None) -> float:
    """The last value that steps from `low` reach; Optuna warns of a range that its step does not
    divide.
    """
    if step is None:
        return high
    return _rounded(low + math.floor((high - low) / step + ROUNDING) * step)


def _geometric(low: float, high: float, factor: float) -> tuple[Value, ...]:
    n_steps = math.floor(math.log(high / low) / math.log(factor) + ROUNDING)
    return tuple(_rounded(low * factor**power) for power in range(n_steps + 1))


def _rounded(value: float) -> float:
    """A float as it is written: 0.3, not 0.30000000000000004; whole numbers stay what they are."""
    return value if isinstance(value, int) else float(f"{value:.12g}")


def optuna_names(space: Sequence[Hyperparameter]) -> list[str]:
    """Optuna's parameter name of each hyperparameter: its own, with its condition where the name
    stands more than once.

    Two ranges under one name would mix in one study: `units` twice becomes `units[cell=lstm]` and
    `units[cell=gru]`.
    """
    counts = Counter(item.name for item in space)
    return [
        item.name if counts[item.name] == 1 else f"{item.name}[{_conditions_text(item)}]"
        for item in space
    ]


def _conditions_text(item: Hyperparameter) -> str:
    return ",".join(
        f"{parent}={'|'.join(map(str, allowed))}" for parent, allowed in item.conditions
    )


def suggest(trial: optuna.trial.BaseTrial, space: Sequence[Hyperparameter]) -> Values:
    """Ask Optuna for a value of each active hyperparameter; fixed ones come along."""
    values: Values = {}
    for item, name in zip(space, optuna_names(space), strict=True):
        if item.is_active(values):
            values[item.name] = _suggest_one(trial, item, name)
    return values


def _suggest_one(trial: optuna.trial.BaseTrial, item: Hyperparameter, name: str) -> Value:
    if item.kind == "fixed":
        return item.default
    if item.choices:
        return cast("Value", trial.suggest_categorical(name, item.choices))
    assert item.low is not None and item.high is not None  # for mypy: an int or float has both
    if item.kind == "int":
        return trial.suggest_int(
            name, int(item.low), int(item.high), step=int(item.step or 1), log=item.log
        )
    return trial.suggest_float(name, item.low, item.high, step=item.step, log=item.log)


def distributions(space: Sequence[Hyperparameter]) -> dict[str, BaseDistribution]:
    """What `suggest` asks Optuna for, over all branches: a distribution for each parameter that has
    more than one value.
    """
    import optuna

    searched = [
        (item, name)
        for item, name in zip(space, optuna_names(space), strict=True)
        if item.kind != "fixed"
    ]
    trial = optuna.trial.FixedTrial({name: item.default for item, name in searched})
    for item, name in searched:
        _suggest_one(trial, item, name)
    return {
        name: distribution
        for name, distribution in trial.distributions.items()
        if not distribution.single()
    }


def defaults(space: Sequence[Hyperparameter]) -> Values:
    """The baseline: each active hyperparameter at its default."""
    values: Values = {}
    for item in space:
        if item.is_active(values):
            values[item.name] = item.default
    return values


def to_params(values: Mapping[str, Value], space: Sequence[Hyperparameter]) -> Values:
    """Values as Optuna parameters, to queue with `study.enqueue_trial`; fixed ones are left out."""
    pairs = zip(space, optuna_names(space), strict=True)
    return {
        name: values[item.name]
        for item, name in pairs
        if item.kind != "fixed" and item.is_active(values)
    }


def from_params(params: Mapping[str, Value], space: Sequence[Hyperparameter]) -> Values:
    """The values of a finished trial out of its Optuna parameters, fixed ones added.

    Raises:
        SpaceError: a parameter that the space needs is missing.
    """
    values: Values = {}
    for item, name in zip(space, optuna_names(space), strict=True):
        if not item.is_active(values):
            continue
        if item.kind != "fixed" and name not in params:
            raise SpaceError(
                f"A trial's parameters must hold {name!r}; it has"
                f" {', '.join(sorted(params)) or 'none'}."
            )
        values[item.name] = item.default if item.kind == "fixed" else params[name]
    return values


def grid(space: Sequence[Hyperparameter], *, max_points: int = 100_000) -> dict[str, list[Value]]:
    """The values of each searched hyperparameter, for `optuna.samplers.GridSampler`.

    Raises:
        SpaceError: a range without steps, a conditional hyperparameter, or more than `max_points`
            points.
    """
    points: dict[str, list[Value]] = {}
    size = 1
    for item, name in zip(space, optuna_names(space), strict=True):
        if item.kind == "fixed":
            continue
        if item.conditions or (not item.choices and (item.step is None or item.log)):
            why = "it is conditional" if item.conditions else f"it is {item.range_text()}"
            raise SpaceError(
                f"The grid sampler needs a choice or a range with step= for {name!r}; {why}. Use"
                " --sampler qmc or tpe."
            )
        points[name] = list(item.choices) or _steps(item)
        size *= len(points[name])
    if size > max_points:
        raise SpaceError(
            f"A grid must have at most {max_points} points; this one has {size}. Use larger steps"
            " or --sampler qmc."
        )
    return points


def _steps(item: Hyperparameter) -> list[Value]:
    assert item.low is not None and item.high is not None and item.step  # checked by `grid`
    n_steps = round((item.high - item.low) / item.step)
    values = [_rounded(item.low + i * item.step) for i in range(n_steps + 1)]
    return [int(v) for v in values] if item.kind == "int" else list(values)


def value_text(value: object) -> str:
    """A value as tables and lines show it: floats to four digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def replay(values: Mapping[str, Value]) -> keras_tuner.HyperParameters:
    """A `keras_tuner.HyperParameters` that answers with these values, for `declare_hyperparameters`
    and `build`.
    """
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp
