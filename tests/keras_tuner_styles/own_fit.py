"""An own `fit` with the batch size, as in KerasTuner's guide."""

import keras
import keras_tuner as kt
from keras import layers


class MyHyperModel(kt.HyperModel):
    def build(self, hp):
        model = keras.Sequential()
        model.add(layers.Embedding(30, hp.Int("dim", 4, 8)))
        model.add(layers.GlobalMaxPooling1D())
        model.add(layers.Dense(1, activation="sigmoid"))
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(
            *args, batch_size=hp.Choice("batch_size", [8, 16]), shuffle=False, **kwargs
        )
