"""Texts to token ids and n-grams by Keras' own layers and operations, for exports that take raw
text.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tuning.inputs.tokenizer import FIRST_WORD_ID


def token_ids(text: Any, words: list[str], *, sequence_length: int, truncating: str) -> Any:
    """Return the token ids of strings, a symbolic tensor (batch,), int32 (batch, sequence_length).
    `words` is the vocabulary, in order of the ids from 2.
    """
    ids = keras.layers.TextVectorization(
        vocabulary=words,
        output_sequence_length=sequence_length if truncating == "post" else None,
        name="tokenize",
    )(text)
    return ids if truncating == "post" else without_excess(ids, sequence_length, truncating)


def ngram_ids(text: Any, ngrams: list[str], *, order: int) -> Any:
    """Return the ids of the distinct n-grams of strings, a symbolic tensor (batch,), int32 (batch,
    n), with 0 in the place of unknown n-grams and of repetitions, and at least one 0. `ngrams` is
    the vocabulary, in order of the ids from 2.
    """
    ops = keras.ops
    ids = keras.layers.TextVectorization(vocabulary=ngrams, ngrams=order, name="tokenize_ngrams")(
        text
    )
    # Two zeros become the first columns. The first zero is dropped, because there is nothing before
    # it to compare it with; the second is the padding that every row of n-grams has, as in
    # `tokenizer.width`.
    ids = ops.sort(ops.pad(ids, [[0, 0], [2, 0]]), axis=1)
    is_first = ops.not_equal(ids[:, 1:], ids[:, :-1])
    is_known = ops.greater_equal(ids[:, 1:], FIRST_WORD_ID)
    return ops.cast(ops.where(ops.logical_and(is_first, is_known), ids[:, 1:], 0), "int32")


def without_excess(ids: Any, sequence_length: int, truncating: str) -> Any:
    """Return at most `sequence_length` ids of each row, int32 (batch, sequence_length), with 0
    after them. `truncating` is the part of a longer text that is dropped. The id 0 must be only
    after the texts.
    """
    ops = keras.ops
    n_last = {"pre": sequence_length, "middle": sequence_length // 2, "post": 0}[truncating]
    n_first = sequence_length - n_last
    ids = ops.pad(ids, [[0, 0], [0, sequence_length]])
    lengths = ops.sum(ops.cast(ops.not_equal(ids, 0), "int32"), axis=1, keepdims=True)
    missing = ops.minimum(ops.subtract(sequence_length, lengths), 0)
    columns = np.arange(sequence_length, dtype=np.int32)[None, :]
    # The columns from `n_first` on contain the ids that follow the excess of the row.
    later = (columns >= n_first).astype(np.int32)
    # Keras writes a sum with a row as `BiasAdd`, which LiteRT does not have for integers.
    positions = ops.subtract(columns, ops.multiply(missing, later))
    return ops.cast(ops.take_along_axis(ids, positions, axis=1), "int32")
