"""An instance of a class that takes arguments, under a name of the user's own."""

import keras
import keras_tuner
from keras import layers


class TextHyperModel(keras_tuner.HyperModel):
    def __init__(self, num_words, num_classes):
        super().__init__()
        self.num_words = num_words
        self.num_classes = num_classes

    def build(self, hp):
        model = keras.Sequential()
        model.add(layers.Input(shape=(None,)))
        model.add(layers.Embedding(self.num_words, 6))
        model.add(layers.GlobalAveragePooling1D())
        model.add(layers.Dense(hp.Int("units", 8, 32, step=8), activation="relu"))
        model.add(layers.Dense(self.num_classes, activation="softmax"))
        model.compile(
            optimizer=keras.optimizers.Adam(hp.Float("lr", 1e-3, 1e-1, sampling="log")),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
            metrics=["accuracy"],
        )
        return model


text_model = TextHyperModel(num_words=30, num_classes=3)
