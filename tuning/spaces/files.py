"""The files of search spaces: `search_spaces/<name>.py`, or a path that a user names, as in
`file.py` or `file.py:Name` for one of several hypermodels in a file. The code of a file is run
here, and may import the modules beside the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from tuning.errors import SpaceBug, SpaceError

_T = TypeVar("_T")


def spaces_dirs() -> list[Path]:
    """Return the folders that contain search spaces: in the working directory, then beside this
    package, then inside this package, where a wheel has it.
    """
    package = Path(__file__).resolve().parents[1]
    here = Path("search_spaces").absolute()
    return [here, package.parent / "search_spaces", package / "search_spaces"]


def list_spaces() -> dict[str, Path]:
    """Return the file of each space by its name; the first folder wins."""
    files: dict[str, Path] = {}
    for folder in spaces_dirs():
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
    path, name = split_place(place)
    return path.stem if name is None else f"{path.stem}-{name}"


def find_space(name: str, *, flag: str = "space") -> Path:
    """Return the file of a space that is given by its name or its path; `flag` names the flag in
    errors. A name after `file.py:` stays at the end of the path.

    Raises:
        SpaceError: the space does not exist; the message lists the known names.
    """
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
    """Return the SHA-256 of a space's file, without executing the file."""
    return hashlib.sha256(split_place(path)[0].read_bytes()).hexdigest()


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
        SpaceError: the file makes a tuner of KerasTuner, or has a class of tuners that train in
            their own way.
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
    """Return a context in which making a tuner of KerasTuner is an error: with `overwrite=True` the
    tuner deletes the trials in its folder, and its search would run in each worker.
    """
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
    """Refuse a class of tuners that overrides how KerasTuner trains: it would never be used.

    Raises:
        SpaceError: the class has a `run_trial` or a `_build_and_fit_model` of its own.
    """
    from keras_tuner.engine.base_tuner import BaseTuner

    if not (isinstance(item, type) and issubclass(item, BaseTuner)):
        return
    for method in ("run_trial", "_build_and_fit_model"):
        owner = next((kind for kind in item.__mro__ if method in vars(kind)), BaseTuner)
        if not owner.__module__.startswith("keras_tuner."):
            raise SpaceError(
                f"{path.name} overrides {method} in {owner.__name__}, a tuner that never runs here."
                ' Declare hp.Int("batch_size", …) in build(hp), write other changes into'
                " HyperModel.fit, and remove the class; folds are not possible yet."
            )


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
            f"The search space failed while {doing}: {type(error).__name__}: {error}{_hint(error)}",
            traceback=traceback.format_exc(),
        ) from error


def _hint(error: Exception) -> str:
    """Return what to do about an error that is usual in files of other programs; empty if none."""
    if isinstance(error, ModuleNotFoundError):
        if (error.name or "").startswith(("keras.", "tensorflow.keras", "tensorflow.python.keras")):
            return (
                ". Keras 3 has no such module: import layers from keras.layers; texts are tokenized"
                " by this program"
            )
        return ". Install it beside this program, or set PYTHONPATH to the folder that contains it"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return ". Write an absolute import: modules beside the file can be imported by their names"
    if type(error) is NameError:
        return (
            '. What the file makes under `if __name__ == "__main__":` does not exist here: write'
            " the number into build(hp), or declare it with hp.Fixed"
        )
    return ""
