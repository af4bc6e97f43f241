"""A subclassed model of raw strings with a given vocabulary, and the length of a text searched."""

import keras
from keras import layers


class TextClassifier(keras.Model):
    def __init__(self, length, dim):
        super().__init__()
        vocabulary = ["great", "broken", "phone", *(f"w{number}" for number in range(2, 24))]
        self.vectorize = layers.TextVectorization(
            vocabulary=vocabulary, output_sequence_length=length
        )
        self.embed = layers.Embedding(self.vectorize.vocabulary_size(), dim)
        self.pool = layers.GlobalMaxPooling1D()
        self.drop = layers.Dropout(0.2)
        self.head = layers.Dense(1, activation="sigmoid")

    def call(self, texts, training=False):
        x = self.pool(self.embed(self.vectorize(texts)))
        return self.head(self.drop(x, training=training))


def build(hp):
    model = TextClassifier(hp.Int("sequence_length", 4, 12, step=4), hp.Choice("dim", [4, 8]))
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    return model
