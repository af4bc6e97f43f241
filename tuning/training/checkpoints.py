"""The state of a training at the end of an epoch, in one file: the weights, the variables of the
optimizer, the random states and the result so far. Also the files of trained models.

Keras is imported inside the functions, because the coordinator reads the results in checkpoints.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuning.atomic_io import write_arrays
from tuning.documents import structure, unstructure
from tuning.errors import StorageError
from tuning.evaluation.predictions import DAMAGED
from tuning.targets.target import Array
from tuning.training.result import FitResult
from tuning.training.vocabularies import assign_lookups, lookup_state

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

# Keras' name of its global random state, and the name of the array in a checkpoint.
GLOBAL_SEED = "global_seed_generator"
# Name of the array of a checkpoint that contains the result so far, as JSON.
RESULT = "seen"


def keep(path: str | None, state: Mapping[str, Array], result: FitResult) -> bool:
    """Write the checkpoint of a training with the arrays of `state_of`, and return whether the
    training can be resumed.
    """
    if path is None:
        return False
    result_json = np.frombuffer(json.dumps(unstructure(result)).encode(), dtype=np.uint8)
    try:
        write_arrays(Path(path), {RESULT: result_json, **state})
    except StorageError as error:  # On a full disk, the study goes on without this checkpoint.
        logger.warning("A training can't go on after a stop, as its state was not kept: %s", error)
        return False
    return True


def load(path: Path, model: keras.Model) -> FitResult:
    """Assign the state in a checkpoint to a model whose layers are built, and return the result so
    far.
    """
    _build_optimizer(model)
    with np.load(path, allow_pickle=False) as saved:
        assign_state(model, saved, source=path)
        return structure(json.loads(saved[RESULT].tobytes()), FitResult)


def assign_state(model: keras.Model, state: Mapping[str, Array], *, source: object) -> None:
    """Assign the arrays of `state_of` to a model whose optimizer is built."""
    assign_lookups(model, state)
    _assign(state, _variables(model), source=source)
    if GLOBAL_SEED in state:
        from keras.src.random.seed_generator import global_seed_generator

        global_seed_generator().state.assign(state[GLOBAL_SEED])


def save_trained(path: Path, model: keras.Model) -> None:
    write_arrays(path, {**_numbered(model.variables), **lookup_state(model)})


def load_trained(path: Path, model: keras.Model) -> None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            assign_lookups(model, saved)
            _assign(saved, model.variables, source=path)
    except DAMAGED as error:
        raise ValueError(
            f"{path} must contain the variables of the model; it is missing, damaged or of another"
            " model."
        ) from error


def _assign(saved: Mapping[str, Array], variables: list[keras.Variable], *, source: object) -> None:
    from tuning.models.ngrams import RATIOS, WEIGHTS

    n_saved = len([name for name in saved if name.isdigit()])
    if n_saved != len(variables):
        raise ValueError(
            f"A checkpoint must fit its model; {source} has {n_saved} arrays, the model"
            f" {len(variables)}."
        )
    for number, variable in enumerate(variables):
        value = saved[f"{number:03d}"]
        # Earlier versions gave the tables of n-grams `ngram_vocab_size` rows, also for data with
        # fewer n-grams. No text reads the rows beyond, so they are left out. The optimizer's
        # variables have the name of their table in their paths.
        if value.ndim and (RATIOS in variable.path or WEIGHTS in variable.path):
            value = value[: variable.shape[0]]
        variable.assign(value)


def read_result(path: Path) -> FitResult | None:
    """Return the result before a checkpoint; None if the file is missing or no checkpoint."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return structure(json.loads(saved[RESULT].tobytes()), FitResult)
    except DAMAGED:
        return None


def state_of(model: keras.Model) -> dict[str, Array]:
    """Return copies of a model's variables, which include the random states of dropout layers, of
    the optimizer's variables, and of Keras' global random state.

    Returns:
        Arrays by name: "000", "001", … for the variables, `GLOBAL_SEED`, and the vocabularies of
        layers that were adapted to texts.
    """
    from keras.src.backend.common.global_state import get_global_attribute

    _build_optimizer(model)
    state = _numbered(_variables(model))
    # Calls of `keras.random` without a seed draw from this generator, which the first such call
    # makes.
    generator = get_global_attribute(GLOBAL_SEED)
    state |= lookup_state(model)
    return state if generator is None else {**state, GLOBAL_SEED: np.array(generator.state)}


def _build_optimizer(model: keras.Model) -> None:
    # The optimizer of a new model, or of one that pauses after epoch 0, has no variables yet.
    if not model.optimizer.built:
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)


def _numbered(variables: list[keras.Variable]) -> dict[str, Array]:
    # A `.npz` file has no bfloat16. float32 contains all values of bfloat16.
    return {
        f"{number:03d}": np.array(variable, np.float32 if variable.dtype == "bfloat16" else None)
        for number, variable in enumerate(variables)
    }


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]
