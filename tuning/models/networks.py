"""Networks that read the words of a text: functions from token ids, int32 (batch, length), to
features, float32 (batch, n), which do not depend on the padding.

The arguments that they share:

- ids: token ids less than `vocab_size`; 0 is padding.
- vocab_size: rows of the embedding, padding and unknown words included.
- embedding_dim: columns of the embedding.
- dropout: share of the features, or of the inputs of a GRU, that is dropped in training.
- word_dropout: share of the words that become unknown in training.
"""

from collections.abc import Sequence

import keras

from tuning.models.words import (
    drop_words,
    is_word,
    max_over_words,
    mean_over_words,
    zero_padding,
)

# The defaults of the convolutions and of the bidirectional LSTM are those of a comparison by hand
# (Amazon reviews, seed 0, 30,000 words, 256 tokens, Adam with 0.001, batches of 64). Validation and
# test accuracy were 0.856 and 0.861 for the convolutions, and 0.840 and 0.845 for the LSTM. Both
# overfitted after the second or third epoch.


def mean_features(
    ids: keras.KerasTensor,
    *,
    vocab_size: int,
    embedding_dim: int = 64,
    dropout: float = 0.0,
    word_dropout: float = 0.0,
) -> keras.KerasTensor:
    """Return the mean of a text's word embeddings, (batch, embedding_dim) (Joulin et al. 2016, "Bag
    of Tricks for Efficient Text Classification").
    """
    x = keras.layers.Embedding(vocab_size, embedding_dim)(drop_words(ids, word_dropout))
    return keras.layers.Dropout(dropout)(mean_over_words(x, is_word(ids)))


def gru_features(
    ids: keras.KerasTensor,
    *,
    vocab_size: int,
    embedding_dim: int = 20,
    gru_units: int = 32,
    dropout: float = 0.2,
    word_dropout: float = 0.0,
) -> keras.KerasTensor:
    """Return the last state of a GRU that skips the padding, (batch, gru_units) (Cho et al. 2014,
    "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
    Translation").
    """
    x = keras.layers.Embedding(vocab_size, embedding_dim, mask_zero=True)(
        drop_words(ids, word_dropout)
    )
    return keras.layers.GRU(gru_units, dropout=dropout)(x)


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
    """Return the pooled outputs of convolutions over the words, (batch, 2 × widths × filters):
    `filters` that read each number of words in `widths`.

    The source (Kim 2014, "Convolutional Neural Networks for Sentence Classification") uses the
    maximum over the words; here the mean is added.
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


def bilstm_features(
    ids: keras.KerasTensor,
    *,
    vocab_size: int,
    embedding_dim: int = 64,
    lstm_units: int = 48,
    dropout: float = 0.3,
    word_dropout: float = 0.0,
) -> keras.KerasTensor:
    """Return the maximum and the mean of the outputs of a bidirectional LSTM, (batch, 4 ×
    lstm_units). `dropout` applies to the inputs of the LSTM and to the features.

    The source (Conneau et al. 2017, "Supervised Learning of Universal Sentence Representations from
    Natural Language Inference Data") uses either the maximum or the mean.
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
