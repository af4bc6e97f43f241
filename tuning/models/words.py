"""Operations on the words of a text that do not depend on its padding: which ids are words, the
dropout of whole words, the mean and the maximum over the words.

Each function is made of Keras' own layers and operations, so that a saved model loads without this
module.
"""

from typing import Any

import keras

ops = keras.ops


def is_word(ids: Any) -> Any:
    """Return whether each id is a word, bool (batch, length, 1): the id 0 is padding."""
    return ops.expand_dims(ops.not_equal(ids, 0), axis=-1)


def drop_words(ids: Any, rate: float) -> Any:
    """Return ids (batch, length) of which a share is replaced by 1 (unknown) in training.

    Each word of a text is replaced with probability `rate`, independently of the other words.
    Padding stays padding. A rate of 0 adds no operation to the graph.
    """
    if not rate:
        return ids
    # Dropout sets values to 0. The ids as floats are 0 at the padding, and positive at the words.
    kept = ops.greater(keras.layers.Dropout(rate)(ops.cast(ids, "float32")), 0.0)
    return ops.where(kept, ids, ops.minimum(ids, 1))


def zero_padding(x: Any, words: Any) -> Any:
    """Return vectors (batch, length, width) that are 0 where `words` (batch, length, 1) is
    false.
    """
    return ops.where(words, x, 0.0)


def mean_over_words(x: Any, words: Any) -> Any:
    """Return the mean of the vectors (batch, length, width) of the words, (batch, width).

    A text without words has the mean 0.
    """
    n_words = ops.sum(ops.cast(words, x.dtype), axis=1)
    return ops.divide(ops.sum(zero_padding(x, words), axis=1), ops.maximum(n_words, 1.0))


def max_over_words(x: Any, words: Any, *, lowest: float) -> Any:
    """Return the maximum of each column of the vectors (batch, length, width) of the words, (batch,
    width).

    Args:
        x: the vectors.
        words: bool (batch, length, 1).
        lowest: a lower bound of the elements of `x`, and the maximum of a text without words.
    """
    return ops.max(ops.where(words, x, lowest), axis=1)
