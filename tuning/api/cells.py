"""A hypermodel that is defined in a notebook cell or a script, as a file of its own: workers import
the search space from a file.

The file has the source of the hypermodel and of the functions and classes of the same notebook that
the hypermodel uses, the imports, the plain values, and the float type and policy of Keras.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import linecache
import symtable
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuning.api.inputs import content_name, write_once
from tuning.errors import SpaceError
from tuning.results import StudyDir
from tuning.spaces.files import CELL_HYPERMODEL, HYPERMODEL_NAMES, missing_arguments
from tuning.spaces.keras_settings import keras_settings_lines

REMEDY = "Write the hypermodel into a file, and give the path: space='my_space.py'."


def write_space(hypermodel: Any, folder: StudyDir, *, kind: str = "space") -> Path:
    """Write a search space file with a hypermodel into a study's folder, and return its path."""
    source = source_of(hypermodel).encode()
    # The name contains a hash of the source, so a notebook that runs again continues its study.
    return write_once(folder, f"{content_name(kind, source)}.py", source)


def space_place(space: Any, folder: StudyDir) -> str:
    """Return a search space of a call as a name or a path, as a configuration records it. A class
    or a function is written into the folder; its name becomes part of the file's name.
    """
    if isinstance(space, str | Path):
        return str(space)
    return str(write_space(space, folder, kind=getattr(space, "__name__", "space")))


def source_of(hypermodel: Any) -> str:
    if not isinstance(hypermodel, type | types.FunctionType):
        raise SpaceError(
            "space must be a name, a path, a class or a function build(hp); received"
            f" {hypermodel!r}. {_remedy_for(type(hypermodel))}"
        )
    if isinstance(hypermodel, type) and (missing := missing_arguments(hypermodel)):
        raise SpaceError(
            f"space must be a class that can be made without arguments; {hypermodel.__name__}()"
            f" gives: {missing}. {_remedy_for(hypermodel)}"
        )
    parts = _Parts()
    parts.add(hypermodel)
    name = parts.free_name(hypermodel)
    last = "" if hypermodel.__name__ == name else f"\n\n{name} = {hypermodel.__name__}\n"
    # The only import that changes how the rest of a file is read comes first.
    future = "from __future__ import annotations\n" if parts.has_future_annotations else ""
    settings = keras_settings_lines()
    parts.imports |= {"import keras"} if settings else set()
    imports = future + "".join(f"{line}\n" for line in sorted(parts.imports))
    values = "".join(f"{line}\n" for line in [*settings, *parts.values])
    return "\n\n".join(filter(None, [imports, values, *parts.definitions])) + last


def _remedy_for(kind: type) -> str:
    """Return what to give as `space` instead of an object, or of a class that needs arguments."""
    name = kind.__name__
    if not hasattr(kind, "declare_hyperparameters"):
        return "Give a keras_tuner.HyperModel class or a function build(hp)."
    # A function build(hp) loses `fit` and the declarations of the class; a subclass keeps them.
    return (
        f"Give a function that makes it, def build(hp): return {name}(...).build(hp), with your"
        f" arguments for the dots. If {name} has a fit() or a declare_hyperparameters() of its own,"
        " give a subclass whose __init__(self) calls super().__init__(...)."
    )


class _Parts:
    """The lines of the file. Each of `definitions` follows the definitions that it uses."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.values: list[str] = []
        self.definitions: list[str] = []
        self.has_future_annotations = False
        self._seen: set[str] = set()
        self._defined: dict[str, object] = {}

    def add(self, item: Callable[..., Any]) -> None:
        """Add what the source of a class or a function uses, and then the class or function."""
        self._seen.add(item.__name__)
        if self._defined.setdefault(item.__name__, item) is not item:
            raise SpaceError(
                f"Two definitions are named {item.__name__}, and a file has the last one alone;"
                f" rename one. Or: {REMEDY}"
            )
        function = _function_of(item)
        text = _source(item, function)
        if later := _set_after_definition(item, text):
            raise SpaceError(
                f"{item.__name__} must be whole where it is defined; {later[0]} was set after it."
                f" Write it in the class. Or: {REMEDY}"
            )
        flags, annotations = function.__code__.co_flags, __future__.annotations.compiler_flag
        self.has_future_annotations |= bool(flags & annotations)
        values = function.__globals__
        for name in _global_names(text):
            if name in values and name not in self._seen:
                self._seen.add(name)
                self._add_value(name, values[name], user=item, module=item.__module__)
        self.definitions.append(text + "\n")

    def free_name(self, hypermodel: Callable[..., Any]) -> str:
        """Return the name under which the file has its hypermodel."""
        *earlier, name = HYPERMODEL_NAMES[:2] if isinstance(hypermodel, type) else HYPERMODEL_NAMES
        # The loader takes the first of the names that a file has, and a last line such as
        # `build = build_fast` would replace a function `build` that `build_fast` calls.
        used = self._seen - {hypermodel.__name__}
        return CELL_HYPERMODEL if used & {name, *earlier} else name

    def _add_value(self, name: str, value: Any, *, user: Any, module: str) -> None:
        value = _with_plain_numbers(value)
        alias = "" if getattr(value, "__name__", name) == name else f" as {name}"
        if isinstance(value, types.ModuleType):
            self.imports.add(f"import {value.__name__}{alias}")
        elif isinstance(value, type | types.FunctionType) and value.__module__ == module:
            if self._defined.get(value.__name__) is not value:
                self.add(value)
            if value.__name__ != name:
                self.definitions.append(f"{name} = {value.__name__}\n")
        elif inner := _decorated(value, name):
            self._add_value(name, inner, user=user, module=module)
        elif getattr(value, "__module__", None) and hasattr(value, "__name__"):
            self.imports.add(f"from {value.__module__} import {value.__name__}{alias}")
        elif _is_plain(value):
            self.values.append(f"{name} = {value!r}")
        else:
            raise SpaceError(
                f"{user.__name__} must use nothing but what a file can define; it uses {name}, a"
                f" {type(value).__name__}. {_remedy_for_value(name, value, user=user.__name__)}"
            )


def _decorated(value: Any, name: str) -> types.FunctionType | None:
    """Return the function of a notebook or script that a decorator in its source has replaced; None
    for any other value.
    """
    # `tf.function` keeps the function as `python_function`, and `functools.wraps` as `__wrapped__`.
    inner = getattr(value, "__wrapped__", None) or getattr(value, "python_function", None)
    is_own = getattr(value, "__module__", None) in ("__main__", "__mp_main__")
    if not (is_own and isinstance(inner, types.FunctionType) and inner.__name__ == name):
        return None
    return inner if _source(inner, inner).startswith("@") else None


def _with_plain_numbers(value: Any) -> Any:
    """Return a value in which numbers of NumPy are Python's own, as in a dict of class weights."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    if type(value) is dict:
        return {_with_plain_numbers(key): _with_plain_numbers(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_with_plain_numbers, value))
    return value


def _remedy_for_value(name: str, value: Any, *, user: str) -> str:
    if hasattr(value, "get_config"):
        return (
            "Make it in build(hp). A TextVectorization without a vocabulary is adapted to the"
            " training texts."
        )
    if callable(value) or isinstance(value, dict | list | tuple | set):
        return (
            "A file can define functions, classes, numbers, texts, and lists and dicts of numbers"
            f" and texts: make {name} inside {user}. Or: {REMEDY}"
        )
    return (
        f"Assign the numbers or texts that you need of it to a variable, such as n = len({name}),"
        f" and use that. Or: {REMEDY}"
    )


def _function_of(item: Any) -> types.FunctionType:
    if isinstance(item, types.FunctionType):
        return item
    members = [member for kind in item.__mro__ for member in vars(kind).values()]
    functions = [
        member
        for member in members
        if isinstance(member, types.FunctionType) and member.__module__ == item.__module__
    ]
    if not functions:
        raise SpaceError(
            f"{item.__name__} must define a method of its own, such as build(self, hp); it has"
            " none."
        )
    own = f"{item.__qualname__}."
    # The source of a class without a method of its own is searched for beside its base.
    return next((f for f in functions if f.__qualname__.startswith(own)), functions[0])


def _set_after_definition(item: Callable[..., Any], text: str) -> list[str]:
    """Return the attributes of a class that its source does not have, such as `Model.units = 8` in
    another cell: a file of the source would lose them.
    """
    if not isinstance(item, type):
        return []
    tables = symtable.symtable(text, "space", "exec").get_children()
    body = next(table for table in tables if table.get_name() == item.__name__)
    own = {symbol.get_name() for symbol in body.get_symbols()}
    return [
        name
        for name, value in vars(item).items()
        if not (name.startswith("_") or name in own)
        and not isinstance(value, types.MemberDescriptorType)  # one of __slots__
    ]


def _source(item: Callable[..., Any], function: types.FunctionType) -> str:
    """Return the source text of a class or a function of a module or a cell."""
    # `inspect.getsource` does not find classes of a notebook with Python 3.11 and 3.12. Jupyter
    # keeps the lines of each cell under the file name of its functions.
    lines = linecache.getlines(function.__code__.co_filename, function.__globals__)
    try:
        body = ast.parse("".join(lines)).body
    except SyntaxError:
        body = []
    places = [
        (min([node.lineno, *(line.lineno for line in node.decorator_list)]), node.end_lineno or 0)
        for node in body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == item.__name__
    ]
    # A name may be defined twice, and Python uses the last definition unless `item` was kept.
    line = function.__code__.co_firstlineno
    own = [place for place in places if place[0] <= line <= place[1]]
    # A method, or a function of another function, may have the name of a definition at the top.
    if places and item.__qualname__ == item.__name__:
        first, last = (own or places)[-1]
        return "".join(lines[first - 1 : last]).rstrip("\n")
    hint = "A cell that begins with %%time keeps none: remove the line. Or: "
    if isinstance(item, type) and not function.__qualname__.startswith(f"{item.__qualname__}."):
        hint = "A class without a method of its own must be in the cell of its base. Or: "
    raise SpaceError(
        f"{item.__name__} must be defined by def or class at the top of a cell or a module, in"
        f" source that Python has kept; its source was not found. {hint}{REMEDY}"
    )


def _global_names(text: str) -> list[str]:
    """Return the global names that a definition reads, sorted, without names such as `__name__`
    that every module has.
    """
    names: set[str] = set()
    tables = [symtable.symtable(text, "space", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        is_module = table.get_type() == "module"
        names |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and (is_module or symbol.is_global())
        }
    own = {name for name in dir(builtins) if name.startswith("__")}
    return sorted(names - own)


def _is_plain(value: Any) -> bool:
    """Return whether `repr` gives a literal with an equal value."""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError):
        return False
