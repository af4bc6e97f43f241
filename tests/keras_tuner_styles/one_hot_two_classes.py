"""Two classes with one-hot labels, and metrics that need them."""

import keras
from keras import layers


def create_model(hp):
    model = keras.Sequential()
    model.add(layers.Embedding(input_dim=30, output_dim=hp.Choice("dim", [4, 8, 16])))
    model.add(layers.Bidirectional(layers.GRU(4)))
    model.add(layers.Dense(2, activation="softmax"))
    model.compile(
        optimizer=hp.Choice("optimizer", ["adam", "rmsprop", "sgd"]),
        loss="categorical_crossentropy",
        metrics=["accuracy", keras.metrics.Precision(), keras.metrics.Recall()],
    )
    return model
