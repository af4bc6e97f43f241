"""A subclassed model of raw strings in the style of TensorFlow's tutorials: a logit for each class,
and a loss that is a function.
"""

import tensorflow as tf

WORDS = ["great", "broken", "phone", *(f"w{number}" for number in range(2, 24))]


def loss(labels, logits):
    return tf.keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


class MyModel(tf.keras.Model):
    def __init__(self, units):
        super().__init__()
        self.vectorize = tf.keras.layers.TextVectorization(
            vocabulary=WORDS, output_sequence_length=8
        )
        self.embedding = tf.keras.layers.Embedding(self.vectorize.vocabulary_size(), 4)
        self.hidden = tf.keras.layers.Dense(units, activation="relu")
        self.logits = tf.keras.layers.Dense(2)
        self.pool = tf.keras.layers.GlobalMaxPooling1D()

    def call(self, texts):
        return self.logits(self.hidden(self.pool(self.embedding(self.vectorize(texts)))))


def build(hp):
    model = MyModel(hp.Int("units", 4, 8))
    model.compile(optimizer=tf.keras.optimizers.Adam(0.02), loss=loss, metrics=["accuracy"])
    return model
