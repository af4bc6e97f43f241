"""Decorators of the Python interface: in the messages of errors, parameters replace flags.

The commands call the same functions behind the interface, whose messages therefore name flags.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import TypeVar

from tuning.errors import TuningError

T = TypeVar("T")

# Parameters whose names differ from the names of their flags.
ALIASES = {"dir": "project", "file": "configurations", "from": "url", "slice": "slice_column"}
# A flag is a word of its own: a path or a text of the user may contain two hyphens.
_FLAG = re.compile(r"(?<![^\s(])--([a-z][a-z-]*)(?![\w-])")
_COMMAND = re.compile(r"(`[^`]*`)")


@contextlib.contextmanager
def parameters_in_messages() -> Iterator[None]:
    """Replace flags in the message of a `TuningError` by parameters, and raise it again."""
    try:
        yield
    except TuningError as error:
        error.args = (with_parameters(str(error)), *error.args[1:])
        raise


def with_parameters(message: str) -> str:
    """Return a message with parameters instead of flags: `n_trials` instead of `--n-trials`.

    Commands in backticks are not changed, and neither are flags without a parameter.
    """
    parts = _COMMAND.split(message)
    parts[::2] = [_FLAG.sub(_parameter, part) for part in parts[::2]]
    return "".join(parts)


def _parameter(flag: re.Match[str]) -> str:
    name = ALIASES.get(flag[1], flag[1].replace("-", "_"))
    return name if name in _parameters() else flag[0]


@functools.cache
def _parameters() -> frozenset[str]:
    """Return the names of the parameters of all public functions and methods."""
    from tuning.api.exports import Export
    from tuning.api.loading import load_export, load_study
    from tuning.api.search import tune
    from tuning.api.study import Study

    methods = [*_public_functions(Study).values(), *_public_functions(Export).values()]
    functions: list[Callable[..., object]] = [tune, load_study, load_export, *methods]
    return frozenset(name for made in functions for name in inspect.signature(made).parameters)


def _public_functions(kind: type) -> dict[str, FunctionType]:
    return {
        name: member
        for name, member in vars(kind).items()
        if isinstance(member, FunctionType) and not name.startswith("_")
    }


def public(kind: type[T]) -> type[T]:
    """Apply `parameters_in_messages` to the public methods and properties of a class."""
    decorate = parameters_in_messages()
    for name, method in _public_functions(kind).items():
        setattr(kind, name, decorate(method))
    for name, member in [*vars(kind).items()]:
        if isinstance(member, property) and member.fget:
            setattr(kind, name, property(decorate(member.fget), doc=member.__doc__))
    return kind
