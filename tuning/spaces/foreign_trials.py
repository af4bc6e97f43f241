"""Trials of other programs and rows of CSV files: hyperparameters by name, and their scores."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuning.errors import StudyError
from tuning.spaces.ranges import Hyperparameter


@dataclass(frozen=True, kw_only=True)
class ForeignTrial:
    """A trial of another program, or a row of a file.

    Attributes:
        name: the name in messages, such as "trial 03".
        values: the hyperparameters by name; the values are not checked.
        scores: the value of each objective; empty for a configuration that was not trained.
        best_epoch: number of the epoch with the score, from 1; None if the number is not known.
    """

    name: str
    values: Mapping[str, Any]
    scores: tuple[float, ...] = ()
    best_epoch: float | None = None


def by_name(hyperparameters: Sequence[Hyperparameter]) -> dict[str, list[Hyperparameter]]:
    """Return the hyperparameters of each name: several of a name have different conditions."""
    items: dict[str, list[Hyperparameter]] = {}
    for item in hyperparameters:
        items.setdefault(item.name, []).append(item)
    return items


def read_rows(
    path: Path, hyperparameters: Sequence[Hyperparameter]
) -> tuple[list[ForeignTrial], list[str]]:
    """Return the rows of a CSV file whose columns are hyperparameters, and a sentence about other
    columns. Empty cells are left out.

    Raises:
        StudyError: the file can't be read, or no column is a hyperparameter of the space.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows, columns = [*reader], [*(reader.fieldnames or ())]
    except (OSError, ValueError, csv.Error) as error:
        raise StudyError(
            f"configurations must be a CSV file with a line of names; reading {path} gave: {error}."
        ) from error
    received = f"configurations must have a column for a hyperparameter; {path} has"
    return _trials(rows, columns, hyperparameters, received=received)


def read_records(
    records: Sequence[Mapping[str, Any]], hyperparameters: Sequence[Hyperparameter]
) -> tuple[list[ForeignTrial], list[str]]:
    """Return dicts of hyperparameters by name as trials, and a sentence about other names. Values
    that are None are left out.

    Raises:
        StudyError: no name is a hyperparameter of the space.
    """
    names = [*dict.fromkeys(name for record in records for name in record)]
    received = "Configurations must name a hyperparameter; they have"
    return _trials(records, names, hyperparameters, received=received)


def _trials(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    hyperparameters: Sequence[Hyperparameter],
    *,
    received: str,
) -> tuple[list[ForeignTrial], list[str]]:
    """Return rows as trials, and a sentence about names that the space does not have.

    Raises:
        StudyError: the space has none of the names. The message begins with `received`.
    """
    known = by_name(hyperparameters)
    if not set(names) & set(known):
        raise StudyError(
            f"{received} {', '.join(map(str, names)) or 'no columns'}, and the space has"
            f" {', '.join(known)}."
        )
    trials = [
        ForeignTrial(
            name=f"row {number}",
            values={
                name: _value(value, known[name])
                for name, value in row.items()
                if name in known and value is not None and str(value).strip()
            },
        )
        for number, row in enumerate(rows, start=1)
    ]
    other = [str(name) for name in names if name not in known]
    sentence = f"Columns that are not hyperparameters are left out: {', '.join(other)}."
    return trials, [sentence] if other else []


def _value(value: Any, items: Sequence[Hyperparameter]) -> Any:
    """Return a cell as a value. In a column of a data frame with an empty cell, integers are
    floats.
    """
    if isinstance(value, str):
        return _cell(value, items)
    value = value.item() if isinstance(value, np.generic) else value
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole and all(type(item.default) is int for item in items) else value


def _cell(text: str, items: Sequence[Hyperparameter]) -> Any:
    """Return the text of a cell as a value; a text that is not a value stays a text."""
    text = text.strip()
    for item in items:
        for choice in item.choices or (item.default,):
            if str(choice).lower() == text.lower() and isinstance(choice, bool | str):
                return choice
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
