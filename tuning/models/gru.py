"""An embedding, a GRU that skips the padding, and a dense layer."""

import keras

from tuning.models.words import drop_words


def gru_features(
    ids: keras.KerasTensor,
    *,
    vocab_size: int,
    embedding_dim: int = 20,
    gru_units: int = 32,
    dropout: float = 0.2,
    word_dropout: float = 0.0,
) -> keras.KerasTensor:
    """Return the last state of a GRU that skips the padding, float32 (batch, gru_units) (Cho et al.
    2014, "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
    Translation").

    The features do not depend on the padding.

    Args:
        ids: int32 token ids (batch, length), less than `vocab_size`; 0 is padding.
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        gru_units: size of the GRU's state.
        dropout: share of the GRU's inputs that is dropped in training.
        word_dropout: share of the words that become unknown in training.
    """
    x = keras.layers.Embedding(vocab_size, embedding_dim, mask_zero=True)(
        drop_words(ids, word_dropout)
    )
    return keras.layers.GRU(gru_units, dropout=dropout)(x)
