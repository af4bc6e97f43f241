"""Two functions in one file; the user chooses one with `two_models.py:NAME`."""

import keras
from keras import layers


def mean_model(hp):
    model = keras.Sequential()
    model.add(layers.Embedding(30, hp.Int("dim", 4, 8)))
    model.add(layers.GlobalAveragePooling1D())
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile("adam", keras.losses.BinaryCrossentropy(), metrics=["accuracy"])
    return model


def recurrent_model(hp):
    model = keras.Sequential()
    model.add(layers.Embedding(30, 4))
    model.add(layers.SimpleRNN(hp.Int("units", 2, 4)))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model
