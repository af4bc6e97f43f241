"""An own `fit` that weights a rare class by scikit-learn's formula, with a focal loss, label
smoothing, and the metrics of a rare class.
"""

import keras_tuner as kt
import numpy as np
from keras import layers
from keras.losses import BinaryFocalCrossentropy
from keras.metrics import AUC, F1Score, Recall
from keras.models import Sequential
from sklearn.utils.class_weight import compute_class_weight


class RareClassModel(kt.HyperModel):
    def build(self, hp):
        model = Sequential()
        model.add(layers.Embedding(30, hp.Int("dim", 4, 8)))
        model.add(layers.GlobalMaxPooling1D())
        model.add(layers.Dense(1, activation="sigmoid"))
        model.compile(
            optimizer="adam",
            loss=BinaryFocalCrossentropy(gamma=hp.Choice("gamma", [1.0, 2.0]), label_smoothing=0.1),
            metrics=["accuracy", F1Score(threshold=0.5), AUC(curve="PR", name="prc"), Recall()],
        )
        return model

    def fit(self, hp, model, x, y, **kwargs):
        labels = np.ravel(y)
        weights = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
        weights[1] *= 5
        return model.fit(
            x,
            y,
            class_weight=dict(enumerate(weights)),
            batch_size=hp.Choice("batch_size", [8, 16]),
            shuffle=False,
            **kwargs,
        )
