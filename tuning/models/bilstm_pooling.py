"""A bidirectional LSTM, pooled over the words."""

import keras

from tuning.models.classifier import (
    DEFAULT_TRAINING,
    TrainingOptions,
    class_layer,
    compile_classifier,
)
from tuning.models.words import drop_words, is_word, max_over_words, mean_over_words


def bilstm_pooling_classifier(
    *,
    vocab_size: int,
    embedding_dim: int = 64,
    lstm_units: int = 48,
    dropout: float = 0.3,
    word_dropout: float = 0.0,
    n_classes: int = 2,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """A compiled classifier by the maximum and the mean of the outputs of a bidirectional LSTM
    (Conneau et al. 2017, "Supervised Learning of Universal Sentence Representations from Natural
    Language Inference Data", have one or the other).

    Input and output are those of `lstm_classifier`. The output does not depend on the padding.

    Args:
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        lstm_units: size of the state of each direction.
        dropout: share of the LSTM's inputs and of the pooled columns that is dropped in training.
        word_dropout: share of the words that become unknown in training.
        n_classes: number of classes.
        training: learning rate, label smoothing, weight decay and moving average.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    words = is_word(ids)
    x = keras.layers.Embedding(vocab_size, embedding_dim, mask_zero=True)(
        drop_words(ids, word_dropout)
    )
    x = keras.layers.Bidirectional(
        keras.layers.LSTM(lstm_units, dropout=dropout, return_sequences=True)
    )(x)
    # The outputs of an LSTM lie between -1 and 1.
    pooled = [max_over_words(x, words, lowest=-1.0), mean_over_words(x, words)]
    x = keras.layers.Dropout(dropout)(keras.layers.Concatenate()(pooled))
    model = keras.Model(ids, class_layer(n_classes)(x))
    return compile_classifier(model, n_classes=n_classes, training=training)
