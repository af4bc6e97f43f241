"""A training at the end of an epoch, in one file: weights, optimiser, random states and what was
seen so far.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuning.evaluation.metrics import Array
from tuning.results import write_bytes
from tuning.training.result import Epoch

if TYPE_CHECKING:
    import keras

GLOBAL_SEED = "global_seed_generator"  # Keras' own name


def save(path: Path, state: Mapping[str, Array], seen: Any) -> None:
    """Write a checkpoint whole or not at all; `state` is that of `state_of`, `seen` is a dataclass
    of plain values.

    Raises:
        StorageError: the folder is full or read-only.
    """
    seen_json = np.frombuffer(json.dumps(dataclasses.asdict(seen)).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, seen=seen_json, **state)
    write_bytes(path, buffer.getvalue())


def load(path: Path, model: keras.Model) -> dict[str, Any]:
    """Put a new model of the same configuration, whose layers are built, where the saved one was;
    returns what was seen.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    model.optimizer.build(model.trainable_variables)
    state = _variables(model)
    with np.load(path, allow_pickle=False) as saved:
        n_saved = len([name for name in saved.files if name.isdigit()])
        if n_saved != len(state):
            raise ValueError(
                f"A checkpoint must fit its model; {path} has {n_saved} arrays, the model"
                f" {len(state)}."
            )
        if GLOBAL_SEED in saved.files:
            from keras.src.random.seed_generator import global_seed_generator

            global_seed_generator().state.assign(saved[GLOBAL_SEED])
        for number, variable in enumerate(state):
            variable.assign(saved[f"{number:03d}"])
        seen: dict[str, Any] = json.loads(saved["seen"].tobytes())
    return seen


def read_history(path: Path) -> list[Epoch] | None:
    """The epochs that were trained before a checkpoint; None where the file is no checkpoint."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            history = json.loads(saved["seen"].tobytes())["history"]
            return [Epoch(**epoch) for epoch in history]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def state_of(model: keras.Model) -> dict[str, Array]:
    """Copies of a model's weights, dropout's random states among them, of its optimizer's
    variables, and of Keras' global random state.

    The last is what `keras.random` draws from where it gets no seed; it is left out of a training
    that has not drawn from it.
    """
    from keras.src.backend.common.global_state import get_global_attribute

    state = {
        f"{number:03d}": np.array(variable) for number, variable in enumerate(_variables(model))
    }
    generator = get_global_attribute(GLOBAL_SEED)
    return state if generator is None else {**state, GLOBAL_SEED: np.array(generator.state)}


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]
