"""Find the hypermodel in the module of a search space's file: the name that the user gives, or
`hypermodel`, or `build`, or the only hypermodel in the file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tuning.errors import SpaceError
from tuning.spaces.files import run_user_code

if TYPE_CHECKING:
    import keras
    import keras_tuner

FIRST_PARAMETER = "hp"  # first parameter of a function that builds a model


def find_hypermodel(module: ModuleType, *, file: str, name: str | None) -> Any:
    """Return the hypermodel of a module: a `HyperModel`, a class of them, or a function.

    Without a name these are tried in turn: `hypermodel`, `build`, the only `HyperModel` in the
    module, the only subclass of `HyperModel` that it defines, and the only function that it defines
    with `hp` as its first parameter and no other parameter without a default.

    Args:
        file: the name of the module's file, for error messages.
        name: the name after `file.py:`.

    Raises:
        SpaceError: the module has no hypermodel of this name, or several and no name is given.
    """
    hypermodels = _hypermodels(module)
    if name is not None:
        if name not in vars(module) or not _is_hypermodel(vars(module)[name]):
            raise SpaceError(
                f"{file}:{name} must name a keras_tuner.HyperModel or a function build(hp);"
                f" {file} has {', '.join(hypermodels) or 'none'}."
            )
        return vars(module)[name]
    for usual in ("hypermodel", "build"):
        if getattr(module, usual, None) is not None:
            return _require(vars(module)[usual], file)
    for kind in (_is_instance, _is_class, inspect.isfunction):
        matching = [item for item in hypermodels.values() if kind(item)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            names = ", ".join(key for key, item in hypermodels.items() if kind(item))
            raise SpaceError(
                f"{file} must define hypermodel, or have only one; it has {names}. Choose one with"
                f" {file}:NAME."
            )
    return _require(None, file, builders=_larger_builders(module))


def as_hypermodel(defined: Any, path: Path) -> keras_tuner.HyperModel:
    """Return a hypermodel, or an instance of a class, or a hypermodel around a function.

    Raises:
        SpaceError: a class needs arguments.
        SpaceBug: creating an instance raises.
    """
    import keras_tuner

    if isinstance(defined, type):
        _require_no_arguments(defined, path)
        defined = run_user_code(defined, doing=f"creating the hypermodel of {path.name}")
    if isinstance(defined, keras_tuner.HyperModel):
        return defined
    build_function: Callable[[Any], Any] = defined

    class FunctionHyperModel(keras_tuner.HyperModel):
        def build(
            self, hp: keras_tuner.HyperParameters, function: Callable[[Any], Any] = build_function
        ) -> keras.Model:
            return function(hp)

    return FunctionHyperModel(name=path.stem)


def _require_no_arguments(kind: type, path: Path) -> None:
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise SpaceError(
            f"{path.name} must define a hypermodel that can be made without arguments;"
            f" {kind.__name__}() gives: {error}. Write `hypermodel = {kind.__name__}(...)` with"
            " your arguments at the top level of the file."
        ) from error


def _require(defined: Any, file: str, *, builders: Sequence[str] = ()) -> Any:
    """Return the object that a module defines as its hypermodel.

    Args:
        builders: the calls of functions that have `hp` and further parameters.

    Raises:
        SpaceError: the object is not a hypermodel.
    """
    if not _is_hypermodel(defined):
        further = f" Add def build(hp): return {builders[0]}." if builders else ""
        raise SpaceError(
            f"{file} must define hypermodel, a keras_tuner.HyperModel, or a function build(hp); it"
            f" has neither.{further}"
        )
    return defined


def _larger_builders(module: ModuleType) -> list[str]:
    """Return the call of each function that a module defines with `hp` as its first parameter."""
    functions = [
        item
        for item in vars(module).values()
        if inspect.isfunction(item) and item.__module__ == module.__name__
    ]
    parameters = {item.__name__: [*inspect.signature(item).parameters] for item in functions}
    return [
        f"{name}({', '.join(names)})"
        for name, names in parameters.items()
        if names[:1] == [FIRST_PARAMETER]
    ]


def _hypermodels(module: ModuleType) -> dict[str, Any]:
    """Return all hypermodels that a module defines itself, by name, without imported classes and
    functions.
    """
    return {
        name: item
        for name, item in vars(module).items()
        if _is_instance(item)
        or (
            getattr(item, "__module__", None) == module.__name__
            and (_is_class(item) or (inspect.isfunction(item) and _builds(item)))
        )
    }


def _builds(function: Any) -> bool:
    """Return whether a function has `hp` as its first parameter and can be called with it alone."""
    first, *others = inspect.signature(function).parameters.values() or (None,)
    return (
        first is not None
        and first.name == FIRST_PARAMETER
        and all(
            other.default is not inspect.Parameter.empty
            or other.kind in (other.VAR_POSITIONAL, other.VAR_KEYWORD)
            for other in others
        )
    )


def _is_hypermodel(item: Any) -> bool:
    return _is_instance(item) or _is_class(item) or (callable(item) and not isinstance(item, type))


def _is_instance(item: Any) -> bool:
    import keras_tuner

    return isinstance(item, keras_tuner.HyperModel)


def _is_class(item: Any) -> bool:
    import keras_tuner

    return isinstance(item, type) and issubclass(item, keras_tuner.HyperModel)
