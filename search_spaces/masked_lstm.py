"""The baseline with masked padding and without recurrent dropout. The dropout, the learning rate,
the batch size and the truncation are searched too.
"""

import keras
import keras_tuner

from tuning.models import head_of, lstm_classifier


class MaskedLSTM(keras_tuner.HyperModel):
    """An LSTM that skips the padding. Short texts take little time, so longer sequences are
    affordable.
    """

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Int("vocab_size", 2_000, 40_000, sampling="log", default=33_807)
        hp.Int("sequence_length", 50, 400, step=10, default=100)
        hp.Int("embedding_dim", 8, 64, sampling="log", default=20)
        hp.Int("lstm_units", 8, 64, sampling="log", default=32)
        hp.Float("dropout", 0.0, 0.5, step=0.05, default=0.2)
        hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=1e-3)
        hp.Choice("batch_size", [32, 64, 128, 256], default=128)
        # "pre" drops the beginning of a text that is too long, "post" its end.
        hp.Choice("truncating", ["pre", "post"], default="pre")
        hp.Fixed("n_classes", 2)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return lstm_classifier(
            vocab_size=hp.get("vocab_size"),
            embedding_dim=hp.get("embedding_dim"),
            lstm_units=hp.get("lstm_units"),
            dropout=hp.get("dropout"),
            recurrent_dropout=0.0,
            learning_rate=hp.get("learning_rate"),
            masked=True,
            **head_of(hp),
        )


hypermodel = MaskedLSTM(name="masked_lstm")
