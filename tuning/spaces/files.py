"""The files of search spaces: `search_spaces/<name>.py`, or a path that a user names, as in
`file.py` or `file.py:Name` for one of several hypermodels in a file. The code of a file is run
here, and may import the modules beside the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from tuning.errors import SpaceBug, SpaceError
from tuning.spaces.objects import PREFIX, is_object, pickled_of

if TYPE_CHECKING:
    import keras
    import keras_tuner

_T = TypeVar("_T")

HYPERMODEL_NAMES = ("hypermodel", "build")
"""The names of a file's hypermodel, the first that exists before the others."""
STATELESS = (
    "Remove stateful=True: no text continues another, and batches have different numbers of texts"
)
# Pattern of an error's message → what the user can do about the error.
_REMEDIES = {
    "'HyperParameters' object has no attribute 'suggest_": (
        "build(hp) gets KerasTuner's hp, and not a trial of Optuna: write hp.Int or hp.Choice"
    ),
    "`stateful=True`": STATELESS,  # Keras asks for a fixed batch size.
    # Keras does not know the name of a registered object, such as "package>name", or the class of
    # a part of a saved model.
    r"identifier: [^<]+>|Could not locate \w+ '|Cannot deserialize object of type": (
        "A worker runs the file of the search space, and not your script or notebook: give the"
        " object itself instead of its name, or register it in this file"
    ),
}


def list_spaces() -> dict[str, Path]:
    """Return the file of each space by its name. The first folder wins: in the working directory,
    then beside this package, then inside this package, where a wheel has it.
    """
    package = Path(__file__).resolve().parents[1]
    here = Path("search_spaces").absolute()
    files: dict[str, Path] = {}
    for folder in (here, package.parent / "search_spaces", package / "search_spaces"):
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                files.setdefault(path.stem, path)
    return files


def split_place(place: Path | str) -> tuple[Path, str | None]:
    """Return the file of a space, and the name after `file.py:`, or None without such a name."""
    match = re.fullmatch(r"(.+\.py):(\w+)", str(place), re.DOTALL)
    return (Path(match[1]), match[2]) if match else (Path(place), None)


def short_name(place: Path | str) -> str:
    """Return the name of a space without its folder: `file`, or `file-Name` for `file.py:Name`."""
    if is_object(place):
        return str(place).removeprefix(PREFIX).rpartition(".")[2]
    path, name = split_place(place)
    return path.stem if name is None else f"{path.stem}-{name}"


def find_space(name: str, *, flag: str = "space", study: str | None = None) -> Path:
    """Return the file of a space by its name or path; a name after `file.py:` stays at the end. The
    place of a Python object stays as it is. `study`: the study whose space it is, for a message.
    """
    if is_object(name):
        if pickled_of(name) is not None:
            return Path(name)
        raise SpaceError(
            f"The search space {short_name(name)} is a Python object, which no file contains: pass"
            f" it, as in tuning.load_study({study or 'name'!r}, space={short_name(name)})."
        )
    place = Path(name).expanduser()
    path, _ = split_place(place)
    if path.suffix == ".py":
        if path.is_file():
            return place.absolute()
        raise SpaceError(f"{flag} must name a file that exists; {name!r} does not exist.")
    known = list_spaces()
    if name not in known:
        raise SpaceError(
            f"{flag} must be one of {', '.join(sorted(known))}, or a path ending in .py; received"
            f" {name!r}."
        )
    return known[name].absolute()


def source_sha256(path: Path) -> str:
    """Return the hash of a file; empty for an object, whose pickle differs between processes."""
    return "" if is_object(path) else hashlib.sha256(split_place(path)[0].read_bytes()).hexdigest()


class _Neighbours:
    """The modules in the folder of the file that was loaded last. The code of the file imports them
    as under `python`: the folder is the first entry of `sys.path` while the code runs.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._names: set[str] = set()  # Modules that the code has imported from the folder.

    def move_to(self, folder: Path) -> None:
        """Import from another folder, and forget the modules from the folder before."""
        # Modules in both folders may have the same name, and a file may have changed.
        for name in [*sys.modules]:
            if name.partition(".")[0] in self._names:
                del sys.modules[name]
        self._folder, self._names = folder, set()
        importlib.invalidate_caches()

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Make the modules of the folder importable, without writing bytecode (`_execute`)."""
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
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(Path(place).parent.resolve() == folder for place in places if place)


def load_module(path: Path) -> ModuleType:
    """Execute the file of a search space and return its module. The modules beside the file that it
    imports are executed again, even if an earlier file has imported them.
    """
    spec = importlib.util.spec_from_file_location(f"search_space_{path.stem}", path)
    assert spec  # for mypy: only a file with another ending than .py has no spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # `dataclass` searches for the module here
    _NEIGHBOURS.move_to(path.resolve().parent)
    with _tuners_refused(path):
        run_user_code(partial(_execute, path, module), doing=f"loading {path.name}")
    for item in vars(module).values():
        _refuse_own_training(item, path)
    return module


@contextlib.contextmanager
def _tuners_refused(path: Path) -> Iterator[None]:
    # With `overwrite=True`, making a tuner deletes the trials in its folder, and the search of the
    # tuner would run in each worker.
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner

    def refuse(tuner: Any, *_: Any, **__: Any) -> None:
        _refuse_own_training(type(tuner), path)
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


def _refuse_own_training(item: Any, path: Path) -> None:
    from keras_tuner.engine.base_tuner import BaseTuner

    if not (isinstance(item, type) and issubclass(item, BaseTuner)):
        return
    for method in ("run_trial", "_build_and_fit_model"):
        owner = next((kind for kind in item.__mro__ if method in vars(kind)), BaseTuner)
        if not owner.__module__.startswith("keras_tuner."):
            raise SpaceError(
                f"{path.name} overrides {method} in {owner.__name__}, a tuner that never runs here."
                ' Declare hp.Int("batch_size", …) in build(hp), write other changes into'
                " HyperModel.fit, and remove the class; for folds, give folds=5."
            )


def _execute(path: Path, module: ModuleType) -> None:
    # The bytecode that Python keeps in `__pycache__` is not used. It may belong to another version
    # of the file that has the same size and was written in the same second.
    code = compile(path.read_bytes(), str(path), "exec")
    exec(code, vars(module))  # noqa: S102 (the search space is the user's own code)


def run_user_code(function: Callable[[], _T], *, doing: str) -> _T:
    """Call code of the search space that was loaded last."""
    try:
        with _NEIGHBOURS.importable():
            return function()
    # A lack of memory is no bug of the file: the configuration is too large, and one trial fails.
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
            f"The search space failed while {doing}: {type(error).__name__}: {error}{_hint(error)}",
            traceback=traceback.format_exc(),
        ) from error


def _hint(error: Exception) -> str:
    """Return what to do about an error that is usual in files of other programs; empty if none."""
    if type(error) is NameError:
        return (
            '. If the file makes it under `if __name__ == "__main__":`, it does not exist here:'
            " write the number into build(hp), or declare it with hp.Fixed"
        )
    for pattern, remedy in _REMEDIES.items():
        if re.search(pattern, str(error)):
            return f". {remedy}"
    if not isinstance(error, ModuleNotFoundError):
        return ""
    if (error.name or "").startswith(("keras.", "tensorflow.keras", "tensorflow.python.keras")):
        return (
            ". Keras 3 has no such module: import layers from keras.layers; texts are tokenized by"
            " this program"
        )
    return ". Install it beside this program, or set PYTHONPATH to the folder that contains it"


def find_hypermodel(module: ModuleType, *, file: str, name: str | None) -> Any:
    """Return the hypermodel of a module: a `HyperModel`, a class of them, or a function.

    Without a name (after `file.py:`) these are tried in turn: each of `HYPERMODEL_NAMES`, the only
    `HyperModel` in the module, the only subclass of `HyperModel` that it defines, and the only
    function that it defines with `hp` as its first parameter and no other parameter without a
    default.
    """
    hypermodels = _hypermodels(module)
    if name is not None:
        if name not in vars(module) or not _is_hypermodel(vars(module)[name]):
            raise SpaceError(
                f"{file}:{name} must name a keras_tuner.HyperModel or a function build(hp);"
                f" {file} has {', '.join(hypermodels) or 'none'}."
            )
        return vars(module)[name]
    usual = [getattr(module, key, None) for key in HYPERMODEL_NAMES]
    usual = [item for item in usual if item is not None]
    if usual and _is_hypermodel(usual[0]):
        return usual[0]
    for kind in () if usual else (_is_instance, _is_class, inspect.isfunction):
        matching = {key: item for key, item in hypermodels.items() if kind(item)}
        if len(matching) == 1:
            return next(iter(matching.values()))
        if matching:
            raise SpaceError(
                f"{file} must define hypermodel, or have only one; it has {', '.join(matching)}."
                f" Choose one with {file}:NAME."
            )
    raise SpaceError(
        f"{file} must define hypermodel, a keras_tuner.HyperModel, or a function build(hp) without"
        " further parameters; it has neither."
    )


def missing_arguments(kind: type) -> str:
    """Return Python's sentence about the arguments that a class needs; empty if it needs none."""
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        return str(error)
    return ""


def as_hypermodel(defined: Any, path: Path) -> keras_tuner.HyperModel:
    """Return a hypermodel, or an instance of a class, or a hypermodel around a function."""
    import keras_tuner

    if isinstance(defined, type):
        missing = missing_arguments(defined)
        if missing and is_object(path):
            raise SpaceError(
                f"space must be a class that can be made without arguments; {defined.__name__}()"
                f" gives: {missing}. Give an instance: space={defined.__name__}(...)."
            )
        if missing:
            raise SpaceError(
                f"{path.name} must define a hypermodel that can be made without arguments;"
                f" {defined.__name__}() gives: {missing}. Write `hypermodel ="
                f" {defined.__name__}(...)` with your arguments at the top level of the file."
            )
        defined = run_user_code(defined, doing=f"creating the hypermodel of {path.name}")
    if isinstance(defined, keras_tuner.HyperModel):
        return defined
    build_function: Callable[[Any], Any] = defined

    class FunctionHyperModel(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            return build_function(hp)

    return FunctionHyperModel(name=path.stem)


def _hypermodels(module: ModuleType) -> dict[str, Any]:
    """Return the hypermodels that a module defines itself, without imported classes."""
    return {
        name: item
        for name, item in vars(module).items()
        if _is_instance(item)
        or (
            (_is_class(item) or (inspect.isfunction(item) and _builds(item)))
            and item.__module__ == module.__name__
        )
    }


def _builds(function: Callable[..., Any]) -> bool:
    signature = inspect.signature(function)
    try:
        signature.bind(None)
    except TypeError:
        return False
    return next(iter(signature.parameters)) == "hp"


def _is_hypermodel(item: Any) -> bool:
    return _is_instance(item) or _is_class(item) or (callable(item) and not isinstance(item, type))


def _is_instance(item: Any) -> bool:
    import keras_tuner

    return isinstance(item, keras_tuner.HyperModel)


def _is_class(item: Any) -> bool:
    import keras_tuner

    return isinstance(item, type) and issubclass(item, keras_tuner.HyperModel)
