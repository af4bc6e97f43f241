"""Search spaces that are Python objects, such as a function of a notebook. They travel to workers
by cloudpickle, in memory alone: no file contains them, and nothing is unpickled from a file.

A study records the place `python:NAME`, with the qualified name of the object. `find_space` finds
the object in the process that was given it, and in the workers of that process.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

from tuning.errors import SpaceError
from tuning.spaces.keras_settings import set_types, types_of_process

PREFIX = "python:"
# The pickled objects of this process by their places. A worker has that of its study.
_pickled: dict[str, bytes] = {}


def is_object(place: Path | str) -> bool:
    return str(place).startswith(PREFIX)


def place_of(space: Any) -> str:
    """Return the place of an object: `python:` and its qualified name."""
    return PREFIX + str(getattr(space, "__qualname__", type(space).__qualname__))


def pickle_space(space: Any) -> bytes:
    """Return an object, and the types of Keras that this process has set, as bytes.

    Raises:
        SpaceError: the object is no hypermodel, or can't be pickled.
    """
    if not (callable(space) or hasattr(space, "build")):
        raise SpaceError(
            "space must be a name, a path, a keras_tuner.HyperModel or a function build(hp);"
            f" received {space!r}."
        )
    import cloudpickle

    types = types_of_process() if "keras" in sys.modules else ()
    try:
        # What a notebook or a script defines itself, in `__main__`, is pickled by value.
        return bytes(cloudpickle.dumps((space, types)))
    # An object may raise anything in its `__reduce__` or `__getstate__`.
    except Exception as error:
        raise SpaceError(
            f"space must be an object that can be sent to a worker; pickling"
            f" {place_of(space).removeprefix(PREFIX)} gave: {error}. Make the object that can't be"
            " pickled inside build(hp), or write the search space into a file, and give its path."
        ) from error


def keep_space(space: Any) -> str:
    """Let this process find an object, and return its place; a name or a path stays as it is."""
    if isinstance(space, str | Path):
        return str(space)
    place = place_of(space)
    keep(place, pickle_space(space))
    return place


def keep(place: str, pickled: bytes) -> None:
    """Let this process find the object of a place."""
    _pickled[place] = pickled


def pickled_of(place: Path | str) -> bytes | None:
    return _pickled.get(str(place))


def given_object(place: Path | None) -> tuple[str, bytes] | None:
    """Return the place and the pickle of an object, for workers; None for the place of a file."""
    pickled = None if place is None else pickled_of(place)
    return None if pickled is None else (str(place), pickled)


def unpickle(place: Path | str) -> Any:
    """Return a copy of an object, and set the types of Keras that it was given with."""
    space, types = pickle.loads(_pickled[str(place)])  # noqa: S301 (bytes of this user's process)
    set_types(*types)
    return space
