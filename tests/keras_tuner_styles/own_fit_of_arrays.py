"""An own `fit` that takes its arguments apart and unpacks the validation data. The model has an
input of a fixed length, and a metric with a value for each class.
"""

import keras
import keras_tuner as kt
from keras import layers


class ReviewModel(kt.HyperModel):
    def build(self, hp):
        inputs = keras.Input(shape=(10,))
        x = layers.Embedding(30, hp.Int("dim", 4, 8))(inputs)
        outputs = layers.Dense(2, activation="softmax")(layers.Flatten()(x))
        model = keras.Model(inputs, outputs)
        model.compile(
            optimizer="adam",
            loss="categorical_crossentropy",
            metrics=["accuracy", keras.metrics.F1Score()],
        )
        return model

    def fit(self, hp, model, x, y, validation_data, callbacks=None, **kwargs):
        history = model.fit(
            x,
            y,
            validation_data=validation_data,
            batch_size=hp.Choice("batch_size", [8, 16]),
            class_weight={0: 1.0, 1: 1.0},
            shuffle=False,
            callbacks=callbacks,
            **kwargs,
        )
        x_val, y_val = validation_data
        assert len(x_val) == len(y_val) > 0
        return history
