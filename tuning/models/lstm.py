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

    The model's input is int32 ids (batch, length), 0 for padding, less than `vocab_size`. `masked`:
    whether the LSTM skips the padding.

    The defaults are the values of the notebook that this project started from. With a vocabulary of
    33,807 rows, the model has 682,957 parameters. The notebook's embedding has one row less,
    because it has no row for unknown words.
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
