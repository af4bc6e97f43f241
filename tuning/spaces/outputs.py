"""The outputs of a model: probabilities, or logits for a loss with `from_logits=True`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


def gives_probabilities(model: keras.Model) -> bool:
    """Return whether a model ends with a sigmoid, a softmax, or another function whose values are
    between 0 and 1.
    """
    import keras

    last = _last(model)
    if isinstance(last, keras.Model):
        return gives_probabilities(last)
    function = getattr(last, "activation", last)
    if isinstance(function, keras.layers.Layer) and (function.weights or not function.built):
        return False
    try:
        values = np.asarray(function(np.array([[-9.0, 9.0]], dtype=np.float32)))
    # The last operation of a user's model may take anything else, and raise any exception.
    except Exception:  # noqa: BLE001
        return False
    return bool(((values >= 0) & (values <= 1)).all())


def _last(model: keras.Model) -> Any:
    """Return the operation of a model's output in a graph, and the last layer of another model."""
    outputs = getattr(model, "outputs", None)
    if outputs:
        return outputs[0]._keras_history.operation
    return model.layers[-1] if model.layers else None


def note_of_outputs(model: keras.Model) -> tuple[str, ...]:
    """Return a sentence if a model that gives probabilities has a loss for logits.

    Keras computes the loss of the logits if it finds the sigmoid or softmax before the loss. It
    finds none in mixed precision, for example, and then takes the probabilities for logits.
    """
    import keras

    for loss in keras.tree.flatten(getattr(model, "loss", None)):
        is_declared = getattr(loss, "from_logits", False)
        if isinstance(loss, functools.partial):
            is_declared = loss.keywords.get("from_logits", False)
        if is_declared and gives_probabilities(model):
            return (
                "The model gives probabilities to a loss with from_logits=True, which may train it"
                " on wrong values. Write from_logits=False in the loss.",
            )
    return ()
