"""Three classes with one-hot labels, and regularizers."""

from keras import Sequential, layers, regularizers
from keras.metrics import AUC


def build(hp):
    penalty = regularizers.l2(hp.Choice("l2", [1e-2, 1e-3, 1e-4]))
    model = Sequential(
        [
            layers.Embedding(30, 6),
            layers.LSTM(4, return_sequences=True, kernel_regularizer=penalty),
            layers.LSTM(hp.Int("last", 2, 4)),
            layers.BatchNormalization(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy", AUC(name="auc")])
    return model
