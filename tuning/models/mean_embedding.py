"""The mean of the words' embeddings and a dense layer (fastText without its n-grams)."""

import keras

from tuning.models.classifier import (
    DEFAULT_TRAINING,
    TrainingOptions,
    class_layer,
    compile_classifier,
)
from tuning.models.words import drop_words, is_word, mean_over_words


def mean_embedding_classifier(
    *,
    vocab_size: int,
    embedding_dim: int = 64,
    dropout: float = 0.0,
    word_dropout: float = 0.0,
    n_classes: int = 2,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """A compiled classifier of the mean of a text's word embeddings (Joulin et al. 2016, "Bag of
    Tricks for Efficient Text Classification").

    Input and output are those of `lstm_classifier`. The output does not depend on the padding.

    Args:
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        dropout: share of the mean's columns that is dropped in training.
        word_dropout: share of the words that become unknown in training.
        n_classes: number of classes.
        training: learning rate, label smoothing, weight decay and moving average.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.Embedding(vocab_size, embedding_dim)(drop_words(ids, word_dropout))
    x = mean_over_words(x, is_word(ids))
    x = keras.layers.Dropout(dropout)(x)
    model = keras.Model(ids, class_layer(n_classes)(x))
    return compile_classifier(model, n_classes=n_classes, training=training)
