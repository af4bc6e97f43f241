"""From one or several columns to several labels of a text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tuning.errors import DataError
from tuning.targets.class_column import MAX_CLASSES
from tuning.targets.classes import SEPARATORS
from tuning.targets.labels import ONE_LABEL, SEPARATOR
from tuning.targets.target import Labels

NOTHING = {"", "[]"}  # no label
# An array of NumPy as text, such as ['a' 'b'], which Python would read as the list ['ab'].
QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
ARRAY = re.compile(rf"\[\s*(?:{QUOTED.pattern})(?:\s+(?:{QUOTED.pattern}))+\s*\]")
NUMBERS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


def read(
    values: pd.Series | pd.DataFrame, column: str
) -> tuple[tuple[str, ...], Labels, npt.NDArray[np.bool_], str]:
    """Return the names of the labels, the labels, int64 0 and 1 (n_rows, n_names), whether a row
    has no empty cell, and how cells became labels.

    | columns | labels |
    |---|---|
    | several columns of 0 and 1 | the names of the columns |
    | lists, such as `["a", "b"]` or `['a', 'b']`; `[]` for a text without labels | their items |
    | texts | their parts between the first of `SEPARATORS` in the column |
    """
    cells = pd.DataFrame(values).astype(str).apply(lambda texts: texts.str.strip())
    is_labeled = ((cells != "") & pd.DataFrame(values).notna()).to_numpy().all(axis=1)
    names: tuple[str, ...]
    if len(cells.columns) > 1:
        names, rule = tuple(map(str, cells)), "each column is a label"
        labels = np.stack([_numbers(cells[name], is_labeled) for name in cells], axis=1)
    else:
        codes, distinct = pd.factorize(cells.iloc[:, 0][is_labeled])
        sets, rule = _sets([*distinct], column)
        names = tuple(sorted({name for items in sets for name in items}))
        of_distinct = [[int(name in items) for name in names] for items in sets]
        labels = np.zeros((len(cells), len(names)), dtype=np.int64)
        labels[is_labeled] = np.array(of_distinct, dtype=np.int64)[codes]
    if not 2 <= len(names) <= MAX_CLASSES:
        remedies = "Name labels in it", "Use kind 'classes'", "Keep the most frequent labels"
        raise DataError(
            f"The texts must have 2 to {MAX_CLASSES} different labels in all; {column!r} has"
            f" {len(names):,}. {remedies[min(len(names), 2)]}, or choose another label_column."
        )
    if {*names} <= NUMBERS.keys():
        raise DataError(
            f"Labels must have names; {column!r} has only {' and '.join(names)}. Name all columns"
            " of labels (a,b), or list the names of the labels of each text."
        )
    if joined := [name for name in names if SEPARATOR in name]:
        raise DataError(
            f"A label must not contain {SEPARATOR!r}, which separates the labels in predictions;"
            f" rename {joined[0]!r}."
        )
    return names, labels, is_labeled, rule


def _numbers(cells: pd.Series, is_labeled: npt.NDArray[np.bool_]) -> Labels:
    numbers = cells.str.lower().map(NUMBERS)
    others = cells[numbers.isna() & is_labeled]
    if len(others):
        raise DataError(
            f"The column of a label must have the values 0 and 1; {cells.name!r} also has"
            f" {others.iloc[0]!r}, in {len(others):,} rows. Remove these rows or the column."
        )
    return numbers.fillna(0).to_numpy(dtype=np.int64)


def _sets(cells: Sequence[str], column: str) -> tuple[list[set[str]], str]:
    """Return the labels in each cell, and the rule by which they were found."""
    found = [_items(cell) for cell in cells]
    has_texts = any(isinstance(item, str) for items in found for item in items or ())
    are_lists = None not in found and any(found)  # also of numbers
    if has_texts or are_lists or all(cell.startswith("[") and cell.endswith("]") for cell in cells):
        if None in found:
            raise DataError(
                f'A list of labels must be written as ["a", "b"], with texts or numbers; {column!r}'
                f" has {cells[found.index(None)][:60]!r}."
            )
        sets = [{str(item).strip() for item in items or ()} - NOTHING for items in found]
        return sets, "each cell is a list of labels"
    for mark in SEPARATORS:
        if any(mark in cell for cell in cells):
            parts = [{part.strip() for part in cell.split(mark)} - NOTHING for cell in cells]
            return parts, f"labels are separated by {mark!r}"
    sets = [{cell} - NOTHING for cell in cells]
    return sets, ONE_LABEL if all(sets) else "each cell is one label or none"


def _items(cell: str) -> list[Any] | None:
    """Return the items of a list as JSON or Python writes it, or of a tuple, a set or an array of
    texts; None for any other text.
    """
    if ARRAY.fullmatch(cell):
        return [text[1:-1] for text in QUOTED.findall(cell)]
    if cell == "set()":
        return []
    for parse in (json.loads, ast.literal_eval) if cell[:1] in ("[", "(", "{") else ():
        try:
            items = parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        is_list = isinstance(items, list | tuple | set)
        if is_list and all(isinstance(item, str | int | float) for item in items):
            return [*items]
    return None
