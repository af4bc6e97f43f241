"""An embedding, a GRU that skips the padding, and a dense layer."""

import keras

from tuning.models.classifier import (
    DEFAULT_TRAINING,
    TrainingOptions,
    class_layer,
    compile_classifier,
)
from tuning.models.words import drop_words


def gru_classifier(
    *,
    vocab_size: int,
    embedding_dim: int = 20,
    gru_units: int = 32,
    dropout: float = 0.2,
    word_dropout: float = 0.0,
    n_classes: int = 2,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """A compiled GRU text classifier (Cho et al. 2014, "Learning Phrase Representations using RNN
    Encoder-Decoder for Statistical Machine Translation").

    Input and output are those of `lstm_classifier`. The output does not depend on the padding.

    Args:
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        gru_units: size of the GRU's state.
        dropout: share of the GRU's inputs that is dropped in training.
        word_dropout: share of the words that become unknown in training.
        n_classes: number of classes.
        training: learning rate, label smoothing, weight decay and moving average.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.Embedding(vocab_size, embedding_dim, mask_zero=True)(
        drop_words(ids, word_dropout)
    )
    x = keras.layers.GRU(gru_units, dropout=dropout)(x)
    model = keras.Model(ids, class_layer(n_classes)(x))
    return compile_classifier(model, n_classes=n_classes, training=training)
