"""The baseline: embedding, LSTM, one dense layer."""

import keras


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
) -> keras.Model:
    """A compiled LSTM text classifier.

    Input: int32 ids (batch, length), 0 for padding, below `vocab_size`. Output: float32 (batch, 1),
    the probability of class 1, for two classes; (batch, n_classes) for more. `masked`: the LSTM
    skips the padding.

    The defaults are those of the notebook that this project starts from; with 33,807 rows they have
    682,957 parameters, one row more than the notebook, for unknown words.
    """
    two = n_classes == 2
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="ids"),
            keras.layers.Embedding(vocab_size, embedding_dim, mask_zero=masked),
            keras.layers.LSTM(lstm_units, dropout=dropout, recurrent_dropout=recurrent_dropout),
            (
                keras.layers.Dense(1, activation="sigmoid")
                if two
                else keras.layers.Dense(n_classes, activation="softmax")
            ),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy" if two else "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
