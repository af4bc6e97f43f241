"""A GRU with masked padding (Cho et al. 2014, "Learning Phrase Representations using RNN
Encoder-Decoder for Statistical Machine Translation").
"""

from functools import partial

import keras
import keras_tuner

from tuning.models import gru_features, head_of, training_of, words_classifier


class MaskedGRU(keras_tuner.HyperModel):
    """The masked LSTM with a GRU instead of the LSTM. A GRU has one gate less."""

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Int("vocab_size", 2_000, 40_000, sampling="log", default=33_807)
        hp.Int("sequence_length", 50, 400, step=10, default=100)
        hp.Int("embedding_dim", 8, 64, sampling="log", default=20)
        hp.Int("gru_units", 8, 64, sampling="log", default=32)
        hp.Float("dropout", 0.0, 0.5, step=0.05, default=0.2)
        hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=1e-3)
        hp.Choice("batch_size", [32, 64, 128, 256], default=128)
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
            gru_features,
            vocab_size=hp.get("vocab_size"),
            embedding_dim=hp.get("embedding_dim"),
            gru_units=hp.get("gru_units"),
            dropout=hp.get("dropout"),
            word_dropout=hp.get("word_dropout"),
        )
        return words_classifier(features, training=training_of(hp), **head_of(hp))


hypermodel = MaskedGRU(name="gru")
