"""The baseline model: an embedding, an LSTM and a dense layer."""

import keras

from tuning.models.classifier import TrainingOptions, class_layers, compile_classifier


def lstm_classifier(
    *,
    vocab_size: int,
    embedding_dim: int = 20,
    lstm_units: int = 32,
    dropout: float = 0.2,
    recurrent_dropout: float = 0.2,
    learning_rate: float = 1e-3,
    masked: bool = False,
    n_classes: int = 2,
    multi_label: bool = False,
) -> keras.Model:
    """Return a compiled LSTM text classifier.

    The model's input is int32 ids (batch, length), 0 for padding, less than `vocab_size`. Its
    output is float32: (batch, 1), the probability of class 1, for two classes, or a number for
    `n_classes=1`; (batch, n_classes) for more classes, or with `multi_label`.

    The defaults are the values of the notebook that this project started from. With a vocabulary of
    33,807 rows, the model has 682,957 parameters. The notebook's embedding has one row less,
    because it has no row for unknown words.

    Args:
        vocab_size: rows of the embedding, padding and unknown words included.
        embedding_dim: columns of the embedding.
        lstm_units: size of the LSTM's state.
        dropout: share of the LSTM's inputs that is dropped in training.
        recurrent_dropout: share of the LSTM's state that is dropped in training.
        learning_rate: the learning rate of Adam.
        masked: whether the LSTM skips the padding.
        n_classes: number of classes or labels; 1 for a number.
        multi_label: whether a text has several labels.
    """
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="ids"),
            keras.layers.Embedding(vocab_size, embedding_dim, mask_zero=masked),
            keras.layers.LSTM(lstm_units, dropout=dropout, recurrent_dropout=recurrent_dropout),
            *class_layers(n_classes, multi_label),
        ]
    )
    training = TrainingOptions(learning_rate=learning_rate)
    return compile_classifier(
        model, n_classes=n_classes, multi_label=multi_label, training=training
    )
