"""Run the code of a search space's file, which may import the modules beside the file, and find the
hypermodel in its module: the name that the user gives, or `hypermodel`, or `build`, or the only
hypermodel in the file.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from tuning.errors import SpaceBug, SpaceError

if TYPE_CHECKING:
    import keras
    import keras_tuner

FIRST_PARAMETER = "hp"  # first parameter of a function that builds a model

_T = TypeVar("_T")


class _Neighbours:
    """The modules in the folder of the file that was loaded last. The code of the file imports them
    as under `python`: the folder is the first entry of `sys.path` while the code runs.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._names: set[str] = set()  # Modules that the code has imported from the folder.

    def move_to(self, folder: Path) -> None:
        """Import from another folder, and forget the modules that were imported from the folder
        before: modules in both folders may have the same name, and a file may have changed.
        """
        for name in [*sys.modules]:
            if name.partition(".")[0] in self._names:
                del sys.modules[name]
        self._folder, self._names = folder, set()
        importlib.invalidate_caches()

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Return a context in which the modules of the folder can be imported. Their bytecode is
        not written, for the reason that `_execute` gives.
        """
        if (folder := self._folder) is None:
            yield
            return
        before, writes_no_bytecode = [*sys.modules], sys.dont_write_bytecode
        sys.path.insert(0, str(folder))
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            sys.dont_write_bytecode = writes_no_bytecode
            with contextlib.suppress(ValueError):  # The code may have changed the path itself.
                sys.path.remove(str(folder))
            if (after := [*sys.modules]) != before:
                tops = {name.partition(".")[0] for name in {*after}.difference(before)}
                new = tops.difference(before)
                self._names |= {name for name in new if _lies_in(folder, sys.modules.get(name))}


_NEIGHBOURS = _Neighbours()


def _lies_in(folder: Path, module: ModuleType | None) -> bool:
    """Return whether a module or a package lies directly in a folder."""
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(Path(place).parent.resolve() == folder for place in places if place)


def load_module(path: Path) -> ModuleType:
    """Execute the file of a search space and return its module. The modules beside the file that it
    imports are executed again, even if an earlier file has imported them.

    Raises:
        SpaceBug: the file raises.
        SpaceError: the file makes a tuner of KerasTuner.
    """
    spec = importlib.util.spec_from_file_location(f"search_space_{path.stem}", path)
    assert spec  # for mypy: only a file with another ending than .py has no spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # `dataclass` searches for the module here
    _NEIGHBOURS.move_to(path.resolve().parent)
    with _tuners_refused(path):
        run_user_code(partial(_execute, path, module), doing=f"loading {path.name}")
    return module


@contextlib.contextmanager
def _tuners_refused(path: Path) -> Iterator[None]:
    """Return a context in which making a tuner of KerasTuner is an error: with `overwrite=True` the
    tuner deletes the trials in its folder, and its search would run in each worker.
    """
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner

    def refuse(*_: Any, **__: Any) -> None:
        raise SpaceError(
            f"{path.name} must not make a tuner when it is loaded. Put the tuner and its search"
            ' under `if __name__ == "__main__":`.'
        )

    made = {kind: kind.__init__ for kind in (keras_tuner.Tuner, BaseTuner)}
    for kind in made:
        kind.__init__ = refuse
    try:
        yield
    finally:
        for kind, make in made.items():
            kind.__init__ = make


def _execute(path: Path, module: ModuleType) -> None:
    """Execute a file as a module. The bytecode that Python keeps in `__pycache__` isn't used: it is
    that of another version of the file if both have one size and were written in one second.
    """
    code = compile(path.read_bytes(), str(path), "exec")
    exec(code, vars(module))  # noqa: S102 (the search space is the user's own code)


def run_user_code(function: Callable[[], _T], *, doing: str) -> _T:
    """Call code of the search space that was loaded last.

    Raises:
        SpaceBug: the code raised anything but a `SpaceError`, `MemoryError` or `KeyboardInterrupt`,
            or called `sys.exit`.
    """
    try:
        with _NEIGHBOURS.importable():
            return function()
    except (SpaceError, MemoryError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise SpaceBug(
            f"The search space ended the program while {doing}. Put argparse and sys.exit under"
            ' `if __name__ == "__main__":`.',
            traceback=traceback.format_exc(),
        ) from error
    except Exception as error:
        raise SpaceBug(
            f"The search space failed while {doing}: {type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
        ) from error


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
    return _require(None, file)


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


def _require(defined: Any, file: str) -> Any:
    """Return the object that a module defines as its hypermodel.

    Raises:
        SpaceError: the object is not a hypermodel.
    """
    if not _is_hypermodel(defined):
        raise SpaceError(
            f"{file} must define hypermodel, a keras_tuner.HyperModel, or a function build(hp); it"
            " has neither."
        )
    return defined


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
