"""Convolutions of several widths side by side, pooled over the words."""

from collections.abc import Sequence

import keras

from tuning.models.classifier import (
    DEFAULT_TRAINING,
    TrainingOptions,
    class_layer,
    compile_classifier,
)
from tuning.models.words import (
    drop_words,
    is_word,
    max_over_words,
    mean_over_words,
    zero_padding,
)


def cnn_classifier(
    *,
    vocab_size: int,
    embedding_dim: int = 64,
    filters: int = 48,
    widths: Sequence[int] = (2, 3, 4),
    dropout: float = 0.3,
    word_dropout: float = 0.0,
    n_classes: int = 2,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """A compiled classifier by convolutions over the words (Kim 2014, "Convolutional Neural
    Networks for Sentence Classification"), with the mean over the words beside Kim's maximum.

    Input and output are those of `lstm_classifier`. The output does not depend on the padding: the
    convolutions read zeros there, and the pooling skips it.

    Args:
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        filters: number of filters of each width.
        widths: the numbers of words that the filters read.
        dropout: share of the pooled columns that is dropped in training.
        word_dropout: share of the words that become unknown in training.
        n_classes: number of classes.
        training: learning rate, label smoothing, weight decay and moving average.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    words = is_word(ids)
    x = keras.layers.Embedding(vocab_size, embedding_dim)(drop_words(ids, word_dropout))
    x = zero_padding(x, words)
    pooled = []
    for width in widths:
        # "same" gives a column for every word, also for a text of fewer words than the width.
        y = keras.layers.Conv1D(filters, width, padding="same", activation="relu")(x)
        pooled += [max_over_words(y, words, lowest=0.0), mean_over_words(y, words)]
    x = keras.layers.Dropout(dropout)(keras.layers.Concatenate()(pooled))
    model = keras.Model(ids, class_layer(n_classes)(x))
    return compile_classifier(model, n_classes=n_classes, training=training)
