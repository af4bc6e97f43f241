"""Convolutions over 2, 3 and 4 words side by side, with the maximum and the mean over the words.

The source (Kim 2014, "Convolutional Neural Networks for Sentence Classification") uses the maximum
alone.
"""

from functools import partial

import keras
import keras_tuner

from tuning.models import cnn_features, head_of, training_of, words_classifier


class CNN(keras_tuner.HyperModel):
    """A model whose filters find phrases anywhere in a text."""

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Int("vocab_size", 2_000, 60_000, sampling="log", default=30_000)
        hp.Int("sequence_length", 64, 512, step=32, default=256)
        hp.Int("embedding_dim", 16, 128, sampling="log", default=64)
        hp.Int("filters", 16, 128, sampling="log", default=48)
        hp.Float("dropout", 0.0, 0.5, step=0.05, default=0.3)
        hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=1e-3)
        hp.Choice("batch_size", [32, 64, 128, 256], default=64)
        hp.Choice("truncating", ["pre", "post", "middle"], default="middle")
        # Each of these options is off at 0.
        hp.Float("word_dropout", 0.0, 0.3, step=0.05, default=0.0)
        hp.Fixed("n_classes", 2)
        if hp.get("n_classes") > 1:  # A number has no share to smooth.
            hp.Float("label_smoothing", 0.0, 0.2, step=0.05, default=0.0)
        hp.Choice("weight_decay", [0.0, 0.001, 0.01, 0.1], default=0.0)
        hp.Choice("ema_momentum", [0.0, 0.99, 0.999], default=0.0)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        features = partial(
            cnn_features,
            vocab_size=hp.get("vocab_size"),
            embedding_dim=hp.get("embedding_dim"),
            filters=hp.get("filters"),
            dropout=hp.get("dropout"),
            word_dropout=hp.get("word_dropout"),
        )
        return words_classifier(features, training=training_of(hp), **head_of(hp))


hypermodel = CNN(name="cnn")
