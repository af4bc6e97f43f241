"""A bidirectional LSTM, pooled over the words."""

import keras

from tuning.models.words import drop_words, is_word, max_over_words, mean_over_words


def bilstm_features(
    ids: keras.KerasTensor,
    *,
    vocab_size: int,
    embedding_dim: int = 64,
    lstm_units: int = 48,
    dropout: float = 0.3,
    word_dropout: float = 0.0,
) -> keras.KerasTensor:
    """Return the maximum and the mean of the outputs of a bidirectional LSTM, float32 (batch, 4 ×
    lstm_units).

    The source (Conneau et al. 2017, "Supervised Learning of Universal Sentence Representations from
    Natural Language Inference Data") uses either the maximum or the mean. The features do not
    depend on the padding.

    Args:
        ids: int32 token ids (batch, length), less than `vocab_size`; 0 is padding.
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        lstm_units: size of the state of each direction.
        dropout: share of the LSTM's inputs and of the pooled columns that is dropped in training.
        word_dropout: share of the words that become unknown in training.
    """
    words = is_word(ids)
    x = keras.layers.Embedding(vocab_size, embedding_dim, mask_zero=True)(
        drop_words(ids, word_dropout)
    )
    x = keras.layers.Bidirectional(
        keras.layers.LSTM(lstm_units, dropout=dropout, return_sequences=True)
    )(x)
    # The outputs of an LSTM lie between -1 and 1.
    pooled = [max_over_words(x, words, lowest=-1.0), mean_over_words(x, words)]
    return keras.layers.Dropout(dropout)(keras.layers.Concatenate()(pooled))
