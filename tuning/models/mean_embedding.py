"""The mean of the words' embeddings and a dense layer (fastText without its n-grams)."""

import keras

from tuning.models.words import drop_words, is_word, mean_over_words


def mean_features(
    ids: keras.KerasTensor,
    *,
    vocab_size: int,
    embedding_dim: int = 64,
    dropout: float = 0.0,
    word_dropout: float = 0.0,
) -> keras.KerasTensor:
    """Return the mean of a text's word embeddings, float32 (batch, embedding_dim) (Joulin et al.
    2016, "Bag of Tricks for Efficient Text Classification").

    The features do not depend on the padding.

    Args:
        ids: int32 token ids (batch, length), less than `vocab_size`; 0 is padding.
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        dropout: share of the mean's columns that is dropped in training.
        word_dropout: share of the words that become unknown in training.
    """
    x = keras.layers.Embedding(vocab_size, embedding_dim)(drop_words(ids, word_dropout))
    x = mean_over_words(x, is_word(ids))
    return keras.layers.Dropout(dropout)(x)
