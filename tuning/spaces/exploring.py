"""Find the hyperparameters that `build(hp)` declares, by building models with other values than the
defaults, as KerasTuner explores a space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tuning.errors import SpaceError
from tuning.spaces.ranges import Value

MAX_BUILDS = 100  # maximum number of conditional scopes of a space that has to be explored
# Maximum number of further builds, in which a value differs from its default.
MAX_VARIATIONS = 60
# An integer up to this value may be the number of layers, which decides which names a loop
# declares. A larger integer is a size.
MAX_LAYERS = 16

Build = Callable[[Any], object]
Chosen = dict[str, Value]


def explore(build: Build, hp: Any, *, vary: Build) -> None:
    """Add all hyperparameters that `build(hp)` declares to `hp`, a `keras_tuner.HyperParameters`.

    A model is built at the defaults, and once for each conditional scope that was not active
    before. Then a model is built for each other value that may decide which names exist: of a
    boolean, of a choice of texts, and the largest number of layers. The names that appear then are
    varied too. A name that appears only if several such values differ from their defaults may not
    be found.

    Args:
        build: builds a model at the defaults and in each scope.
        vary: builds a model for each other value.

    Raises:
        SpaceError: the space has more than `MAX_BUILDS` scopes.
    """
    seen: set[tuple[str, Value]] = set()
    _explore_scopes(build, hp, seen)
    left = _variations(hp.space, {}, seen)
    for _ in range(MAX_VARIATIONS):
        if not left:
            return
        chosen = left.pop(0)
        n_known = len(hp.space)
        _activate(hp, chosen)
        vary(hp)
        if len(hp.space) > n_known:
            new = hp.space[n_known:]
            _explore_scopes(vary, hp, seen, first=chosen)
            left += _variations(new, chosen, seen)


def _explore_scopes(
    build: Build, hp: Any, seen: set[tuple[str, Value]], *, first: Chosen | None = None
) -> None:
    """Build at the present values, then once for each conditional scope that was not active.

    `first` contains the values of a model that has been built; the further builds keep them.
    """
    tried: list[Any] = []
    for n_builds in range(MAX_BUILDS):
        if n_builds or first is None:
            build(hp)
        seen.update(hp.values.items())
        tried += hp.active_scopes
        untried = [scope for scope in hp.inactive_scopes if scope not in tried]
        if first is not None:  # The scopes of names that were known have been explored.
            untried = [s for s in untried if not all(_is_seen(c, seen) for c in s)]
        if not untried:
            return
        tried.append(untried[0])
        _activate(hp, (first or {}) | {c.name: c.values[0] for c in untried[0]})
    raise SpaceError(
        f"A space must have at most {MAX_BUILDS} conditional scopes; declare them in"
        " declare_hyperparameters(hp)."
    )


def _is_seen(condition: Any, seen: set[tuple[str, Value]]) -> bool:
    return any((condition.name, value) in seen for value in condition.values)


def _variations(items: list[Any], chosen: Chosen, seen: set[tuple[str, Value]]) -> list[Chosen]:
    """Return the values of each further build: `chosen`, a value of one of the items that no model
    had yet, and the values that make this item active.
    """
    return [
        chosen | {c.name: c.values[0] for c in item.conditions} | {item.name: value}
        for item in items
        for value in _deciding_values(item)
        if (item.name, value) not in seen
    ]


def _deciding_values(item: Any) -> list[Value]:
    """Return the values of a hyperparameter that may decide which other names are declared."""
    import keras_tuner.engine.hyperparameters as kt

    if isinstance(item, kt.Boolean):
        return [False, True]
    if isinstance(item, kt.Choice):
        values = list(item.values)
        if not all(type(value) is int for value in values):
            return [value for value in values if isinstance(value, bool | str)]
        return [max(values)] if max(values) <= MAX_LAYERS else []
    is_number_of_layers = isinstance(item, kt.Int) and item.max_value <= MAX_LAYERS
    return [item.max_value] if is_number_of_layers else []


def shifted(hp: Any) -> Chosen:
    """Return the values of `hp` with another value for each number: the smallest, or the next one
    if the default is the smallest. A model that is built from them shows whether its sizes depend
    on a hyperparameter.
    """
    import keras_tuner.engine.hyperparameters as kt

    values = dict(hp.values)
    for item in hp.space:
        ordered: list[Value] = []
        if isinstance(item, kt.Int | kt.Float):
            width = item.max_value - item.min_value
            usual = 1 if isinstance(item, kt.Int) else width / 2
            step = item.step if item.step and item.sampling != "log" else usual
            ordered = [item.min_value, min(item.min_value + step, item.max_value)]
        elif isinstance(item, kt.Choice) and not isinstance(item.values[0], bool | str):
            ordered = sorted(item.values)
        others = [value for value in ordered if value != item.default]
        if others and item.name in values:
            values[item.name] = others[0]
    return values


def _activate(hp: Any, chosen: Chosen) -> None:
    """Set the values of a build; all hyperparameters that are not chosen get their defaults."""
    hp.values = {}
    for item in hp.space:
        if hp.is_active(item):
            hp.values.setdefault(item.name, chosen.get(item.name, item.default))
