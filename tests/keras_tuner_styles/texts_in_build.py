"""A hypermodel that searches the sizes of its `TextVectorization`, and adapts it in `build`."""

import keras
import keras_tuner
from keras import layers

WORDS = [f"w{number}" for number in range(2, 24)]


class BagOfWords(keras_tuner.HyperModel):
    def __init__(self, texts):
        super().__init__()
        self.texts = texts

    def build(self, hp):
        vectorizer = layers.TextVectorization(
            max_tokens=hp.Int("vocab_size", 10, 30),
            ngrams=hp.Choice("ngrams", [1, 2]),
            output_mode="tf_idf",
        )
        vectorizer.adapt(self.texts)
        model = keras.Sequential(
            [
                keras.Input(shape=(1,), dtype="string"),
                vectorizer,
                layers.Dropout(hp.Float("dropout", 0.0, 0.4, step=0.2)),
                layers.Dense(2, activation="softmax"),
            ]
        )
        model.compile(
            keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        return model


hypermodel = BagOfWords([" ".join(WORDS), " ".join(WORDS[:6]), "great phone", "it was broken"])
