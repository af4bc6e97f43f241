"""The vocabularies of Keras' layers in a model: the layers are adapted to the training texts, and
their vocabularies are kept with a model. Keras keeps them in lookup tables, and not in variables.

Keras is imported inside the functions, because the coordinator imports `checkpoints`.
"""

from __future__ import annotations

import contextlib
import json
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuning.errors import SpaceError
from tuning.inputs.texts import SplitTexts
from tuning.spaces.models import takes_input

if TYPE_CHECKING:
    import keras

Arrays = dict[str, npt.NDArray[Any]]

# Number of texts of a batch with which a layer is adapted.
ADAPT_BATCH_SIZE = 512
# The names of the arrays of a lookup table in a checkpoint begin with this text.
_PREFIX = "lookup"
# Layers that were adapted here. A layer that a file makes outside `build` is also part of the next
# training's model, and is adapted to its texts again.
_adapted: weakref.WeakSet[keras.layers.Layer] = weakref.WeakSet()


def adapt_to_texts(model: keras.Model, texts: SplitTexts) -> None:
    """Adapt each `TextVectorization` that has no vocabulary and takes the model's input.

    In a graph, a layer takes the model's input if this tensor is its own input. In a model with its
    own `call`, and inside another model, the only layer without a vocabulary counts as such a
    layer.
    """
    layers = [
        layer
        for layer in _vectorizations(model)
        if layer in _adapted or is_empty(layer._lookup_layer)
    ]
    for layer in layers:
        is_in_graph = getattr(model, "inputs", None) and layer in model.layers
        if takes_input(model, layer) or (len(layers) == 1 and not is_in_graph):
            layer.adapt(_batches(texts))
            _adapted.add(layer)
    left = [layer for layer in _vectorizations(model) if is_empty(layer._lookup_layer)]
    left += [layer for layer in lookups(model) if is_empty(layer)]
    if left:
        raise SpaceError(
            "Every TextVectorization must have a vocabulary before the training; the layer"
            f" {left[0].name!r} has none, and does not take the texts directly. Call its adapt in"
            " build(hp), or define adapt(self, hp, model, x, y), which gets the training texts as"
            " x."
        )
    if layers:
        # Functions that were traced before the layers were adapted contain the empty tables.
        model.train_function = model.test_function = model.predict_function = None


def _vectorizations(model: keras.Model) -> list[keras.layers.TextVectorization]:
    import keras

    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.TextVectorization)
    ]


def _batches(texts: SplitTexts) -> Iterator[Any]:
    import tensorflow as tf

    for start in range(0, len(texts), ADAPT_BATCH_SIZE):
        rows = np.arange(start, min(start + ADAPT_BATCH_SIZE, len(texts)))
        yield tf.constant(texts.take(rows))


def lookups(model: keras.Model) -> list[Any]:
    """Return the layers with a lookup table that is not part of their configuration. A
    `TextVectorization` contains such a layer.
    """
    import keras

    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.StringLookup | keras.layers.IntegerLookup)
        and layer.input_vocabulary is None
    ]


def is_empty(lookup: Any) -> bool:
    return int(lookup.lookup_table.size()) == 0


@contextlib.contextmanager
def placeholder_vocabularies(model: keras.Model) -> Iterator[None]:
    empty = [(layer, layer.lookup_table) for layer in lookups(model) if is_empty(layer)]
    for layer, _ in empty:
        is_weighted = layer.output_mode == "tf_idf"
        layer.set_vocabulary(["unknown"], **({"idf_weights": [1.0]} if is_weighted else {}))
    try:
        yield
    finally:
        # A layer may be a global of the search space, which the trainings use too.
        for layer, table in empty:
            layer.lookup_table = table


def lookup_state(model: keras.Model) -> Arrays:
    state: Arrays = {}
    for number, layer in enumerate(lookups(model)):
        if is_empty(layer):
            continue
        vocabulary, weights = vocabulary_of(layer)
        text = json.dumps(vocabulary).encode()
        state[f"{_PREFIX}.{number}.vocabulary"] = np.frombuffer(text, dtype=np.uint8)
        if weights is not None:
            state[f"{_PREFIX}.{number}.weights"] = weights
    return state


def assign_lookups(model: keras.Model, saved: Mapping[str, npt.NDArray[Any]]) -> None:
    for number, layer in enumerate(lookups(model)):
        name = f"{_PREFIX}.{number}.vocabulary"
        if name in saved:
            weights = f"{_PREFIX}.{number}.weights"
            layer.set_vocabulary(
                json.loads(saved[name].tobytes()),
                **({"idf_weights": saved[weights]} if weights in saved else {}),
            )


def vocabulary_of(lookup: Any) -> tuple[list[Any], npt.NDArray[np.float32] | None]:
    """Return the vocabulary of a lookup layer with its special tokens, and the weights of its terms
    if they are inverse document frequencies.
    """
    terms = lookup.get_vocabulary(include_special_tokens=True)
    vocabulary = [str(term) if isinstance(term, str) else int(term) for term in terms]
    if lookup.output_mode != "tf_idf":
        return vocabulary, None
    # Keras pads the weights to `max_tokens`.
    weights = np.asarray(lookup.idf_weights.numpy(), dtype=np.float32)
    return vocabulary, weights[: len(vocabulary)]


def keep_in_config(model: keras.Model) -> None:
    # Keras otherwise writes a vocabulary as a text file with one term a line, and reads the file
    # with `str.splitlines`, which also splits a term at characters such as U+2028.
    for lookup in lookups(model):
        if not is_empty(lookup):
            vocabulary, weights = vocabulary_of(lookup)
            lookup.input_vocabulary = vocabulary
            lookup.input_idf_weights = None if weights is None else weights.tolist()
