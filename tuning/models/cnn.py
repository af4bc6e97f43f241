"""Convolutions of several widths side by side, pooled over the words."""

from collections.abc import Sequence

import keras

from tuning.models.words import (
    drop_words,
    is_word,
    max_over_words,
    mean_over_words,
    zero_padding,
)


def cnn_features(
    ids: keras.KerasTensor,
    *,
    vocab_size: int,
    embedding_dim: int = 64,
    filters: int = 48,
    widths: Sequence[int] = (2, 3, 4),
    dropout: float = 0.3,
    word_dropout: float = 0.0,
) -> keras.KerasTensor:
    """Return the pooled outputs of convolutions over the words, float32 (batch, 2 × widths ×
    filters).

    The source (Kim 2014, "Convolutional Neural Networks for Sentence Classification") uses the
    maximum over the words; here the mean is added. The features do not depend on the padding.

    Args:
        ids: int32 token ids (batch, length), less than `vocab_size`; 0 is padding.
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        filters: number of filters of each width.
        widths: the numbers of words that the filters read.
        dropout: share of the pooled columns that is dropped in training.
        word_dropout: share of the words that become unknown in training.
    """
    words = is_word(ids)
    x = keras.layers.Embedding(vocab_size, embedding_dim)(drop_words(ids, word_dropout))
    x = zero_padding(x, words)
    pooled = []
    for width in widths:
        # "same" gives a column for every word, also for a text of fewer words than the width.
        y = keras.layers.Conv1D(filters, width, padding="same", activation="relu")(x)
        pooled += [max_over_words(y, words, lowest=0.0), mean_over_words(y, words)]
    return keras.layers.Dropout(dropout)(keras.layers.Concatenate()(pooled))
