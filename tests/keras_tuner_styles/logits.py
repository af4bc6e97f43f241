"""The model of TensorFlow's tutorial on basic text classification: one logit."""

import tensorflow as tf
from tensorflow.keras import layers, losses


def build_model(hp):
    model = tf.keras.Sequential(
        [
            layers.Embedding(30, hp.Int("embedding_dim", 4, 8, step=4)),
            layers.Dropout(0.2),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(hp.Float("dropout", 0.0, 0.4, step=0.2)),
            layers.Dense(1),
        ]
    )
    model.compile(
        loss=losses.BinaryCrossentropy(from_logits=True),
        optimizer=tf.keras.optimizers.Adam(0.02),
        metrics=[tf.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )
    return model
