"""A function that imports a layer from a module beside its file."""

import keras
from keras import layers
from my_layers import AttentionPooling


def build_model(hp):
    model = keras.Sequential()
    model.add(layers.Embedding(30, hp.Int("dim", 4, 8)))
    model.add(AttentionPooling())
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(
        keras.optimizers.Adam(hp.Choice("lr", [0.02, 0.01])),
        "binary_crossentropy",
        metrics=["accuracy"],
    )
    return model
