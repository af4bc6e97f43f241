"""JSON documents as dataclasses. One converter reads and writes all of them. An error names the
path to the wrong value.

```
read(path, DataCard, error=StorageError, remedy="…")   a file below results/ as a dataclass
structure(values, DataCard)                            the same for values of any other source
write(path, card)                                      a file; an error leaves the old file
unstructure(card)                                      plain values, as JSON can contain them
```

A key that a dataclass does not have is ignored, because a newer version may have written it, unless
the dataclass sets `refuses_unknown_keys`. A field without a default must be in the document.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import GenericAlias, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import cattrs
from cattrs.cols import (
    homogenous_tuple_structure_factory,
    list_structure_factory,
    mapping_structure_factory,
)
from cattrs.gen import (
    make_dict_structure_fn,
    make_dict_unstructure_fn,
    make_hetero_tuple_structure_fn,
    override,
)

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


Hook = Callable[[Any, Any], Any]
_NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


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
    try:
        return _converter.structure(values, kind)
    except (ValueError, cattrs.BaseValidationError) as error:
        lines = cattrs.transform_error(error, path="", format_exception=_reason)
        reason, _, place = lines[0].rpartition(" @ ")
        place = place.removeprefix(".")
        raise ValueError(f"{place}: {reason}" if place else reason) from error


def unstructure(document: object) -> dict[str, Any]:
    values: dict[str, Any] = _converter.unstructure(document)
    return values


def _reason(error: BaseException, _: object) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"must not have {', '.join(sorted(error.extra_fields))}"
    return str(error)


def _wrong(expected: str, value: object) -> ValueError:
    return ValueError(f"must be {expected}, not {reprlib.repr(value)}")


def _structure_plain(value: Any, kind: Any) -> Any:
    # cattrs' own hook would make 3 of "3" and 1 of true. `isinstance` would take a bool for an int.
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise _wrong(_NAMES[kind], value)
    return value


def _is_plain_union(kind: Any) -> bool:
    # A hyperparameter's value has such a type. cattrs reads an optional value of a single type.
    parts = set(get_args(kind)) - {NoneType}
    return get_origin(kind) in (Union, UnionType) and len(parts) > 1 and parts <= _NAMES.keys()


def _structure_plain_union(value: Any, kind: Any) -> Any:
    parts = get_args(kind)
    if type(value) not in parts:
        raise _wrong(" or ".join(name for part, name in _NAMES.items() if part in parts), value)
    return value


def _checked(kind: type, expected: str, structure_parts: Hook) -> Hook:
    # cattrs iterates over any value: it would read the text "ab" as the list ["a", "b"].
    def structure_checked(value: Any, target: Any) -> Any:
        if not isinstance(value, kind):
            raise _wrong(expected, value)
        return structure_parts(value, target)

    return structure_checked


def _document_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    refuses = getattr(kind, "refuses_unknown_keys", False)
    structure_fields = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=refuses)
    prefixes = _prefixes(kind)

    def structure_document(value: Any, target: Any) -> Any:
        entries = {
            name: {key.removeprefix(start): v for key, v in value.items() if key.startswith(start)}
            for name, start in prefixes.items()
        }
        return structure_fields({**value, **entries}, target)

    return _checked(dict, "an object", structure_document if prefixes else structure_fields)


def _prefixes(kind: Any) -> dict[str, str]:
    fields = dataclasses.fields(kind)
    return {f.name: f.metadata["prefix"] for f in fields if "prefix" in f.metadata}


def _plain_values_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
    omitted = [item.name for item in dataclasses.fields(kind) if "omit_default" in item.metadata]
    overrides: dict[str, Any] = dict.fromkeys(omitted, override(omit_if_default=True))
    plain_values = make_dict_unstructure_fn(kind, converter, **overrides)
    prefixes = _prefixes(kind)

    def flat(document: Any) -> Any:
        values = plain_values(document)
        for name, prefix in prefixes.items():
            values |= {f"{prefix}{key}": value for key, value in values.pop(name).items()}
        return values

    return flat if prefixes else plain_values


def _has_own_keys(kind: Any) -> bool:
    """Return whether a class makes its keys itself, such as one with a subclass for each kind."""
    return hasattr(kind, "of_document")


def _tuple_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    parts = get_args(kind)
    if parts[-1] is Ellipsis:
        return _checked(list, "a list", homogenous_tuple_structure_factory(kind, converter))
    structure_parts = make_hetero_tuple_structure_fn(kind, converter)

    def structure_tuple(value: Any, _: Any) -> Any:
        if len(value) != len(parts):
            raise ValueError(f"must have {len(parts)} values, not {len(value)}")
        return structure_parts(value, kind)

    return _checked(list, "a list", structure_tuple)


def _dict_hook(kind: Any, converter: cattrs.Converter) -> Hook:
    key, inner = get_args(kind)
    named: Any = GenericAlias(dict, (str, inner))
    by_name = mapping_structure_factory(named, converter)
    if key is str:
        return _checked(dict, "an object", by_name)

    # JSON contains integer keys as strings.
    def structure_numbered(value: Any, _: Any) -> Any:
        wrong = [name for name in value if not name.removeprefix("-").isdecimal()]
        if wrong:
            raise ValueError(f"must have integers as keys, not {reprlib.repr(wrong[0])}")
        return {int(name): part for name, part in by_name(value, dict).items()}

    return _checked(dict, "an object", structure_numbered)


def _origin_is(*origins: type) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in origins


def _make_converter() -> cattrs.Converter:
    made = cattrs.Converter()
    for kind in _NAMES:
        made.register_structure_hook(kind, _structure_plain)
    # A StrEnum is a str, so the hook of str would be called for it.
    made.register_structure_hook(StrEnum, lambda word, kind: kind(word))
    made.register_structure_hook_func(_is_plain_union, _structure_plain_union)
    made.register_structure_hook_factory(
        _origin_is(list),
        lambda kind, used: _checked(list, "a list", list_structure_factory(kind, used)),
    )
    made.register_structure_hook_factory(_origin_is(tuple), _tuple_hook)
    made.register_structure_hook_factory(_origin_is(dict, Mapping), _dict_hook)
    made.register_structure_hook_factory(dataclasses.is_dataclass, _document_hook)
    made.register_unstructure_hook_factory(dataclasses.is_dataclass, _plain_values_hook)
    # cattrs asks the hook that was registered last first, so these precede those of dataclasses.
    made.register_structure_hook_func(_has_own_keys, lambda values, kind: kind.of_document(values))
    made.register_unstructure_hook_func(_has_own_keys, lambda value: value.document())
    return made


_converter = _make_converter()
