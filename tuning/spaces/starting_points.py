"""The starting points of a search space: configurations that are known to be good, which a study
trains right after the baseline. Where they have n-grams, the n-grams may be those that a tuned
linear model has chosen.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

from tuning.errors import SpaceError
from tuning.spaces.hyperparameters import active_values, defaults
from tuning.spaces.ranges import NGRAM_ORDER, Hyperparameter, Value, Values

STARTING_POINTS = "starting_points"  # attribute of a hypermodel, or of the module of its file
# The hyperparameters that a linear model chooses, where a space declares the first two.
CHOSEN = (NGRAM_ORDER, "ngram_c", "ngram_weighting", "ngram_vocab_size")


def points_of(hypermodel: object) -> Any:
    points = getattr(hypermodel, STARTING_POINTS, None)
    return points() if callable(points) else points


def resolve_points(
    points: Any, hyperparameters: Sequence[Hyperparameter], *, space: str
) -> tuple[tuple[Values, ...], tuple[int, ...]]:
    """Return the values of all active hyperparameters for each starting point, and the numbers of
    the points, from 1, whose n-grams are those of the linear model.

    A point contains only the values that differ from the defaults. A point with n-grams gets those
    of the linear model unless it names one of `CHOSEN`. Any other point that is equal to the
    baseline is left out, and so is each point that is equal to an earlier point. If no point gets
    the n-grams of the linear model and the baseline has n-grams, the baseline's values with the
    n-grams of the linear model are the first point.
    """
    if not isinstance(points, list | tuple | None):
        raise SpaceError(
            f"starting_points of {space} must be a list of dicts; it is {reprlib.repr(points)}."
        )
    baseline = defaults(hyperparameters)
    kept: list[Values] = []
    linear: list[int] = []
    for number, point in enumerate(points or (), start=1):
        values = resolve_point(point, hyperparameters, name=f"Starting point {number} of {space}")
        is_linear = _has_ngrams(values) and not set(CHOSEN) & set(point)
        if values not in kept and (is_linear or values != baseline):
            kept.append(values)
            if is_linear:
                linear.append(len(kept))
    if not linear and _has_ngrams(baseline):
        kept.insert(0, baseline)
        linear.append(1)
    return tuple(kept), tuple(linear)


def _has_ngrams(values: Values) -> bool:
    return set(CHOSEN[:2]) <= set(values)


def with_choice(point: Values, hyperparameters: Sequence[Hyperparameter], chosen: Values) -> Values:
    """Return a point with the chosen values, or with the nearest values that the space allows."""
    return active_values(
        hyperparameters,
        lambda item, _: item.nearest(chosen.get(item.name, point.get(item.name, item.default))),
    )


def resolve_point(point: Any, hyperparameters: Sequence[Hyperparameter], *, name: str) -> Values:
    """Return the values of all active hyperparameters under a point, which errors call `name`."""
    if not isinstance(point, dict):
        raise SpaceError(
            f"{name} must be a dict of hyperparameter names and values; it is"
            f" {reprlib.repr(point)}."
        )
    known = list(dict.fromkeys(item.name for item in hyperparameters))
    for key, value in point.items():
        if key not in known:
            raise SpaceError(
                f"{name} must name hyperparameters of the space; it gives {key!r} the value"
                f" {value!r}, and the space has {', '.join(known)}."
            )
    values = active_values(
        hyperparameters,
        lambda item, _: (
            _legal(item, point[item.name], name=name) if item.name in point else item.default
        ),
    )
    if inactive := [key for key in point if key not in values]:
        raise SpaceError(
            f"{name} must name hyperparameters that are active under its values; {inactive[0]!r} is"
            " not."
        )
    return values


def _legal(item: Hyperparameter, value: Any, *, name: str) -> Value:
    allowed = (item.default,) if item.kind == "fixed" else item.choices
    if isinstance(value, bool | int | float | str):
        for choice in allowed:
            # True == 1 in Python, but here a boolean is not a number.
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
        if not allowed and not isinstance(value, bool) and item.is_legal(value):
            return int(value) if item.kind == "int" else float(value)
    range_text = f"fixed at {item.default}" if item.kind == "fixed" else item.range_text()
    raise SpaceError(
        f"{name} must give {item.name!r} a value in its range, {range_text}; it gives {value!r}."
    )
