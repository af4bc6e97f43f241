"""The notebook's model, with four hyperparameters to search: vocabulary size, sequence length,
embedding size and LSTM units.
"""

import keras
import keras_tuner

from tuning.models import head_of, lstm_classifier


class BaselineLSTM(keras_tuner.HyperModel):
    """The baseline. Every default is the notebook's value, so trial 0 trains the notebook's
    model.
    """

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        # 33,807 rows are the notebook's 33,805 words, padding and unknown. Few corpora that train
        # in minutes profit from more than 40,000.
        hp.Int("vocab_size", 2_000, 40_000, sampling="log", default=33_807)
        hp.Int("sequence_length", 40, 200, step=10, default=100)
        hp.Int("embedding_dim", 8, 64, sampling="log", default=20)
        hp.Int("lstm_units", 8, 64, sampling="log", default=32)
        hp.Fixed("n_classes", 2)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return lstm_classifier(
            vocab_size=hp.get("vocab_size"),
            embedding_dim=hp.get("embedding_dim"),
            lstm_units=hp.get("lstm_units"),
            **head_of(hp),
        )


hypermodel = BaselineLSTM(name="baseline_lstm")
