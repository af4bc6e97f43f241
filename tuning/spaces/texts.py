"""The inputs of a model: their names, whether they are the texts instead of token ids, and the
embeddings that take them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import SpaceError
from tuning.spaces.files import split_place

if TYPE_CHECKING:
    import keras

# The file of a search space contains a match if a model of the space takes texts.
_SIGNS = re.compile(r"TextVectorization|tf\.string\b|[\"']string[\"']")


def takes_texts(model: keras.Model) -> bool:
    """Return whether a model takes texts: its input is strings, or it has no declared input, and
    contains a `TextVectorization`.

    Raises:
        SpaceError: the model has another input beside the texts, or its input of texts has another
            shape than one text in a row.
    """
    import keras

    inputs = getattr(model, "inputs", None) or []
    if not inputs:
        return any(
            isinstance(layer, keras.layers.TextVectorization)
            for layer in model._flatten_layers(include_self=False)
        )
    if all(tensor.dtype != "string" for tensor in inputs):
        return False
    shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
    if len(inputs) > 1:
        names = ", ".join(repr(tensor.name) for tensor in inputs)
        raise SpaceError(
            "A model that takes texts must have no other input; this model has the inputs"
            f" {names}. Compute the other input from the texts, or take token ids and no texts."
        )
    if shapes[0] not in ((), (1,)):
        raise SpaceError(
            "The input of a model that takes texts must have one text in a row:"
            " keras.Input((), dtype='string') or keras.Input((1,), dtype='string'); this model's"
            f" input has the shape {shapes[0]}."
        )
    return True


def names_of_inputs(model: keras.Model) -> tuple[str, ...]:
    """Return the names of a model's inputs, in the order of `model.inputs`; for a model of a
    dictionary of inputs, its keys.
    """
    struct = getattr(model, "_inputs_struct", None)  # a Sequential has none
    if isinstance(struct, dict):
        return tuple(sorted(struct))  # Keras orders the inputs of a dictionary by their keys.
    return tuple(tensor.name for tensor in getattr(model, "inputs", None) or [])


def embeddings_of_ids(model: keras.Model) -> list[keras.layers.Embedding]:
    """Return the embeddings that take a model's input. If no embedding is known to take the input,
    as in a subclassed model, the embeddings with the most rows are returned: the others may embed
    the positions.
    """
    import keras

    embeddings = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.Embedding)
    ]
    inputs = {id(tensor) for tensor in getattr(model, "inputs", None) or []}
    direct = [layer for layer in embeddings if inputs & set(_inputs_of(layer))]
    n_rows = max((layer.input_dim for layer in embeddings), default=0)
    return direct or [layer for layer in embeddings if layer.input_dim == n_rows]


def _inputs_of(layer: Any) -> Iterator[int]:
    """Yield the identity of each tensor that a layer takes in a graph."""
    for node in layer._inbound_nodes:
        for tensor in node.input_tensors:
            yield id(tensor)


def mentions_texts(path: Path) -> bool:
    """Return whether the file of a search space contains a sign that a model takes texts."""
    return _SIGNS.search(split_place(path)[0].read_text(errors="replace")) is not None
