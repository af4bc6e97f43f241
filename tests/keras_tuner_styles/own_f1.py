"""A metric of the user's own, as a class and as a function."""

import keras
import keras_tuner as kt
from keras import layers, ops


class F1(keras.metrics.Metric):
    def __init__(self, name="f1", **kwargs):
        super().__init__(name=name, **kwargs)
        self.precision = keras.metrics.Precision()
        self.recall = keras.metrics.Recall()

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.precision.update_state(y_true, y_pred, sample_weight)
        self.recall.update_state(y_true, y_pred, sample_weight)

    def result(self):
        p, r = self.precision.result(), self.recall.result()
        return 2 * p * r / (p + r + keras.backend.epsilon())

    def reset_state(self):
        self.precision.reset_state()
        self.recall.reset_state()


def share_of_positives(y_true, y_pred):
    return ops.mean(ops.round(y_pred))


class SentimentModel(kt.HyperModel):
    def __init__(self, vocabulary=30):
        super().__init__()
        self.vocabulary = vocabulary

    def build(self, hp):
        model = keras.Sequential()
        model.add(layers.Embedding(self.vocabulary, 6))
        model.add(
            layers.Conv1D(hp.Int("filters", 4, 8), hp.Choice("kernel", [2, 3]), padding="same")
        )
        model.add(layers.GlobalMaxPooling1D())
        model.add(layers.Dense(1, activation="sigmoid"))
        model.compile("adam", "binary_crossentropy", metrics=["accuracy", F1(), share_of_positives])
        return model
