"""A training at the end of an epoch, in one file: weights, optimiser, random states and what was seen so far."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuning.metrics import Array
from tuning.results import write_bytes

if TYPE_CHECKING:
    import keras


def save(path: Path, state: Sequence[Array], seen: Any) -> None:
    """Write a checkpoint whole or not at all; `state` is that of `state_of`, `seen` is a dataclass of plain values.

    Raises:
        StorageError: the folder is full or read-only.
    """
    arrays = {f"{number:03d}": array for number, array in enumerate(state)}
    seen_json = np.frombuffer(json.dumps(dataclasses.asdict(seen)).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, seen=seen_json, **arrays)
    write_bytes(path, buffer.getvalue())


def load(path: Path, model: keras.Model) -> dict[str, Any]:
    """Put a new model of the same configuration, whose layers are built, where the saved one was; returns what was seen.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    model.optimizer.build(model.trainable_variables)
    state = _variables(model)
    with np.load(path, allow_pickle=False) as saved:
        if len(saved.files) != len(state) + 1:
            raise ValueError(f"A checkpoint must fit its model; {path} has {len(saved.files) - 1} arrays, the model {len(state)}.")
        for number, variable in enumerate(state):
            variable.assign(saved[f"{number:03d}"])
        seen: dict[str, Any] = json.loads(saved["seen"].tobytes())
    return seen


def read_history(path: Path) -> list[dict[str, Any]] | None:
    """The epochs that a checkpoint has behind it ("number", "metrics", "seconds"); None where the file is no checkpoint."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            history: list[dict[str, Any]] = json.loads(saved["seen"].tobytes())["history"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return history


def state_of(model: keras.Model) -> list[Array]:
    """Copies of a model's weights, dropout's random states among them, and of its optimizer's variables."""
    return [np.array(variable) for variable in _variables(model)]


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]
