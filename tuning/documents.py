"""JSON documents as dataclasses. An error names the path to the wrong value.

```
read(path, DataCard, error=StorageError, remedy="…")   a file below results/ as a dataclass
structure(values, DataCard)                            the same for values of any other source
write(path, card)                                      a file; an error leaves the old file
unstructure(card)                                      plain values, as JSON can contain them
```

A key that a dataclass does not have is ignored, because a newer version may have written it, unless
the dataclass sets `refuses_unknown_keys`. A field without a default must be in the document. A
class with `document` and `of_document` makes its keys itself.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tuning.atomic_io import SCHEMA_VERSION, read_json, write_json
from tuning.errors import TuningError

T = TypeVar("T")

OMIT_DEFAULT: Mapping[str, bool] = {"omit_default": True}
"""Metadata of a field whose key is not in the document where its value is the default."""


def prefixed(prefix: str) -> Mapping[str, str]:
    """Return the metadata of a field whose dictionary has no key of its own in the document: its
    entries are keys of the object, with a prefix.
    """
    return {"prefix": prefix}


_NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
_hints = cache(get_type_hints)


def read(
    path: Path,
    kind: type[T],
    *,
    error: type[TuningError],
    remedy: str,
    version: int = SCHEMA_VERSION,
) -> T:
    values = read_json(path, version=version)
    try:
        return structure(values, kind)
    except ValueError as wrong:
        raise error(f"{path} must be as this program wrote it; {wrong}. {remedy}") from wrong


def write(path: Path, document: object, *, version: int = SCHEMA_VERSION) -> None:
    write_json(path, {"schema_version": version, **unstructure(document)})


def structure(values: object, kind: type[T]) -> T:
    made: T = _structured(values, kind, "")
    return made


def unstructure(document: object) -> dict[str, Any]:
    values: dict[str, Any] = _plain(document)
    return values


def _structured(value: Any, kind: Any, place: str) -> Any:
    """Return a value of JSON as a value of the kind with which a field is annotated. `place` is the
    path to the value.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in kinds:
        return None
    if plain := [each for each in _NAMES if each in kinds]:
        # `isinstance` would take a bool for an int.
        if type(value) not in plain and not (float in plain and type(value) is int):
            raise _wrong(place, " or ".join(_NAMES[each] for each in plain), value)
        return value
    (kind,) = (each for each in kinds if each is not NoneType)
    origin = get_origin(kind)
    if origin in (list, tuple):
        return origin(_items(value, kind, place))
    if origin in (dict, Mapping):
        return _entries(value, kind, place)
    if issubclass(kind, StrEnum):
        if value not in [*kind]:
            raise _wrong(place, f"one of {', '.join(kind)}", value)
        return kind(value)
    values = _checked(value, dict, "an object", place)
    of_document = getattr(kind, "of_document", None)
    arguments = {} if of_document else _arguments(values, kind, place)
    try:
        return of_document(values) if of_document else kind(**arguments)
    except (ValueError, TypeError, TuningError) as error:  # The checks of a class.
        raise _error(place, str(error)) from error


def _items(value: Any, kind: Any, place: str) -> list[Any]:
    parts = _checked(value, list, "a list", place)
    kinds = get_args(kind)
    if get_origin(kind) is list or kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(parts)
    if len(parts) != len(kinds):
        raise _error(place, f"must have {len(kinds)} values, not {len(parts)}")
    pairs = enumerate(zip(parts, kinds, strict=True))
    return [_structured(part, of_part, f"{place}[{number}]") for number, (part, of_part) in pairs]


def _entries(value: Any, kind: Any, place: str) -> dict[Any, Any]:
    entries, (of_key, of_value) = _checked(value, dict, "an object", place), get_args(kind)
    wrong = [key for key in entries if of_key is int and not key.removeprefix("-").isdecimal()]
    if wrong:
        raise _error(place, f"must have integers as keys, not {reprlib.repr(wrong[0])}")
    # JSON contains integer keys as strings.
    return {
        of_key(key): _structured(inner, of_value, f"{place}[{key!r}]")
        for key, inner in entries.items()
    }


def _arguments(values: dict[str, Any], kind: Any, place: str) -> dict[str, Any]:
    """Return the arguments of a dataclass by the names of its fields."""
    arguments = {}
    for item in fields(kind):
        inner = f"{place}.{item.name}".removeprefix(".")
        prefix, part = item.metadata.get("prefix"), values.get(item.name, MISSING)
        if prefix is not None:
            part = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
        if part is not MISSING:
            arguments[item.name] = _structured(part, _hints(kind)[item.name], inner)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise _error(inner, "is missing")
    unknown = sorted(values.keys() - arguments.keys())
    if unknown and getattr(kind, "refuses_unknown_keys", False):
        raise _error(place, f"must not have {', '.join(unknown)}")
    return arguments


def _checked(value: Any, kind: type[T], expected: str, place: str) -> T:
    if not isinstance(value, kind):
        raise _wrong(place, expected, value)
    return value


def _wrong(place: str, expected: str, value: object) -> ValueError:
    return _error(place, f"must be {expected}, not {reprlib.repr(value)}")


def _error(place: str, reason: str) -> ValueError:
    return ValueError(f"{place}: {reason}" if place else reason)


def _plain(value: Any) -> Any:
    if hasattr(value, "of_document"):
        return value.document()
    if is_dataclass(value):
        values: dict[str, Any] = {}
        for item in fields(value):
            part = getattr(value, item.name)
            if "omit_default" in item.metadata and part == _default(item):
                continue
            if (prefix := item.metadata.get("prefix")) is None:
                values[item.name] = _plain(part)
            else:
                values |= {f"{prefix}{key}": inner for key, inner in _plain(part).items()}
        return values
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_plain, value)]
    return value.value if isinstance(value, StrEnum) else value


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()
