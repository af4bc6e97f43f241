"""The search space of all sides: the ranges of the fixed configurations, and a learning rate.

KerasTuner's peer inherits from it, and so searches the same ranges with the same declarations.
"""

import keras
import keras_tuner

from tuning.models import lstm_classifier


class SameSpace(keras_tuner.HyperModel):
    """A masked LSTM. The end of a long text is dropped, as by the peers' `TextVectorization`."""

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Int("vocab_size", 1_000, 30_000, sampling="log", default=20_000)
        hp.Int("sequence_length", 40, 200, step=10, default=100)
        hp.Int("embedding_dim", 8, 64, sampling="log", default=20)
        hp.Int("lstm_units", 8, 128, sampling="log", default=32)
        hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=1e-3)
        hp.Fixed("truncating", "post")
        hp.Fixed("n_classes", 2)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return lstm_classifier(
            vocab_size=hp.get("vocab_size"),
            embedding_dim=hp.get("embedding_dim"),
            lstm_units=hp.get("lstm_units"),
            learning_rate=hp.get("learning_rate"),
            recurrent_dropout=0.0,
            masked=True,
        )


hypermodel = SameSpace(name="same_space")
