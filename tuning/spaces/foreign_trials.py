"""Trials of other programs and rows of CSV files: hyperparameters by name, and their scores."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.errors import StudyError
from tuning.spaces.ranges import Hyperparameter


@dataclass(frozen=True, kw_only=True)
class ForeignTrial:
    """A trial of another program, or a row of a file.

    Attributes:
        name: how messages call it, such as "trial 03".
        values: the hyperparameters by name; the values are not checked.
        scores: the value of each objective; empty for a configuration that was not trained.
        best_epoch: number of the epoch with the score, from 1; None if it is not known.
    """

    name: str
    values: Mapping[str, Any]
    scores: tuple[float, ...] = ()
    best_epoch: int | None = None


def by_name(hyperparameters: Sequence[Hyperparameter]) -> dict[str, list[Hyperparameter]]:
    """Return the hyperparameters of each name: several of a name have different conditions."""
    items: dict[str, list[Hyperparameter]] = {}
    for item in hyperparameters:
        items.setdefault(item.name, []).append(item)
    return items


def read_rows(
    path: Path, hyperparameters: Sequence[Hyperparameter]
) -> tuple[list[ForeignTrial], list[str]]:
    """Return the rows of a CSV file whose columns are hyperparameters. Empty cells are left out.

    Raises:
        StudyError: the file can't be read, or no column is a hyperparameter of the space.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows, columns = [*reader], [*(reader.fieldnames or ())]
    except (OSError, ValueError, csv.Error) as error:
        raise StudyError(
            f"--file must be a CSV file with a line of names; reading {path} gave: {error}."
        ) from error
    known = by_name(hyperparameters)
    if not set(columns) & set(known):
        raise StudyError(
            f"--file must have a column for a hyperparameter; {path} has"
            f" {', '.join(map(str, columns)) or 'no columns'}, and the space has"
            f" {', '.join(known)}."
        )
    other = [name for name in columns if name not in known]
    sentences = [f"Columns that are no hyperparameters are left out: {', '.join(other)}."]
    trials = [
        ForeignTrial(
            name=f"row {number}",
            values={
                name: _cell(text, known[name])
                for name, text in row.items()
                if name in known and isinstance(text, str) and text.strip()
            },
        )
        for number, row in enumerate(rows, start=1)
    ]
    return trials, sentences if other else []


def _cell(text: str, items: Sequence[Hyperparameter]) -> Any:
    """Return a cell as the value that it stands for; a text that is no value stays a text."""
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
