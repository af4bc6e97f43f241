"""A class with conditional scopes: a loop under one of them, the same name under both."""

import keras
import keras_tuner
from keras import layers


class CellHyperModel(keras_tuner.HyperModel):
    def build(self, hp):
        inputs = keras.Input(shape=(10,))
        x = layers.Embedding(30, 5)(inputs)
        cell = hp.Choice("cell", ["lstm", "conv"])
        with hp.conditional_scope("cell", ["lstm"]):
            if cell == "lstm":
                for i in range(hp.Int("n_lstm", 1, 2)):
                    x = layers.Bidirectional(
                        layers.LSTM(hp.Int(f"width_{i}", 2, 4), return_sequences=True)
                    )(x)
        with hp.conditional_scope("cell", ["conv"]):
            if cell == "conv":
                x = layers.Conv1D(hp.Int("width", 2, 6), 3, activation="relu")(x)
        x = layers.GlobalMaxPooling1D()(x)
        outputs = layers.Dense(1, activation="sigmoid")(x)
        model = keras.Model(inputs, outputs)
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model
