"""An own `fit` that searches the weight of each class but the first."""

import keras_tuner as kt
from keras import layers
from keras.models import Sequential


class WeightedModel(kt.HyperModel):
    def build(self, hp):
        model = Sequential()
        model.add(layers.Embedding(30, hp.Int("dim", 4, 8)))
        model.add(layers.GlobalMaxPooling1D())
        model.add(layers.Dense(3, activation="softmax"))
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, x, y, **kwargs):
        weights = {
            0: 1.0,
            1: hp.Float("weight_1", 2.0, 10.0, sampling="log"),
            2: hp.Float("weight_2", 5.0, 50.0, sampling="log"),
        }
        batch_size = hp.Choice("batch_size", [8, 16])
        return model.fit(x, y, class_weight=weights, batch_size=batch_size, shuffle=False, **kwargs)
