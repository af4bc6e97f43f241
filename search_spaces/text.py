"""The default: the notebook's LSTM, and six kinds of models that may be better for reviews. The
hyperparameter `architecture` chooses; each kind has its own hyperparameters.
"""

from functools import partial

import keras
import keras_tuner

from tuning.models import (
    FittedStart,
    bilstm_features,
    cnn_features,
    gru_features,
    head_of,
    lstm_classifier,
    mean_features,
    ngram_classifier,
    training_of,
    wide_deep_classifier,
    words_classifier,
)

# Architectures by what they read.
NGRAMS = ["ngrams", "ngrams_and_network"]
WORDS = ["ngrams_and_network", "cnn", "mean_embedding", "gru", "bilstm_pooling"]


class Text(FittedStart, keras_tuner.HyperModel):
    """The default search space. Trial 0 is the notebook's model. The first trials of the other
    architectures are starting points, the most promising first.
    """

    starting_points = (
        {"architecture": "ngrams"},
        {"architecture": "ngrams_and_network", "deep": "mean_embedding"},
        {"architecture": "ngrams_and_network"},
        {"architecture": "mean_embedding", "dropout": 0.0},
        {"architecture": "cnn"},
        {"architecture": "gru"},
        {"architecture": "bilstm_pooling"},
    )

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Choice("architecture", ["lstm", "ngrams", *WORDS], default="lstm")
        hp.Fixed("n_classes", 2)
        with hp.conditional_scope("architecture", ["lstm"]):
            # The ranges and defaults of `baseline_lstm`.
            hp.Int("vocab_size", 2_000, 40_000, sampling="log", default=33_807)
            hp.Int("sequence_length", 40, 200, step=10, default=100)
            hp.Int("embedding_dim", 8, 64, sampling="log", default=20)
            hp.Int("lstm_units", 8, 64, sampling="log", default=32)
        with hp.conditional_scope("architecture", NGRAMS):
            hp.Int("ngrams", 1, 3, default=3)
            hp.Int("ngram_vocab_size", 20_000, 800_000, sampling="log", default=500_000)
            hp.Float("ngram_c", 1.0, 300.0, sampling="log", default=10.0)
            hp.Choice("ngram_weighting", ["log_count_ratios", "inverse_document_frequencies"])
        with hp.conditional_scope("architecture", ["ngrams"]):
            hp.Float("ngram_dropout", 0.0, 0.8, step=0.1, default=0.5)
            hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
            hp.Choice("batch_size", [32, 64, 128], default=64)
        with hp.conditional_scope("architecture", ["ngrams_and_network"]):
            hp.Choice("deep", ["mean_embedding", "cnn"], default="cnn")
            hp.Float("ngram_dropout", 0.0, 0.8, step=0.1, default=0.0)
            hp.Float("ngram_rate", 0.1, 20.0, sampling="log", default=1.0)
        with hp.conditional_scope("architecture", WORDS):
            hp.Int("vocab_size", 5_000, 60_000, sampling="log", default=30_000)
            hp.Int("sequence_length", 64, 512, step=32, default=256)
            hp.Int("embedding_dim", 16, 128, sampling="log", default=64)
            hp.Float("dropout", 0.0, 0.5, step=0.05, default=0.3)
            hp.Float("learning_rate", 3e-4, 5e-3, sampling="log", default=1e-3)
            hp.Choice("batch_size", [32, 64, 128], default=64)
            hp.Choice("truncating", ["pre", "post", "middle"], default="middle")
        with hp.conditional_scope("architecture", ["ngrams_and_network", "cnn"]):
            hp.Int("filters", 16, 128, sampling="log", default=48)
        with hp.conditional_scope("architecture", ["gru", "bilstm_pooling"]):
            hp.Int("units", 16, 64, sampling="log", default=32)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        architecture, head = hp.get("architecture"), head_of(hp)
        if architecture == "lstm":
            sizes = ("vocab_size", "embedding_dim", "lstm_units")
            return lstm_classifier(**head, **{name: hp.get(name) for name in sizes})
        training = training_of(hp)
        if architecture == "ngrams":
            return ngram_classifier(
                vocab_size=hp.get("ngram_vocab_size"),
                dropout=hp.get("ngram_dropout"),
                unit_length=True,
                training=training,
                **head,
            )
        if architecture == "ngrams_and_network":
            return wide_deep_classifier(
                self._features(hp, hp.get("deep")),
                ngram_vocab_size=hp.get("ngram_vocab_size"),
                ngram_dropout=hp.get("ngram_dropout"),
                unit_length=True,
                ngram_rate=hp.get("ngram_rate"),
                training=training,
                **head,
            )
        return words_classifier(self._features(hp, architecture), training=training, **head)

    def _features(
        self, hp: keras_tuner.HyperParameters, network: str
    ) -> partial[keras.KerasTensor]:
        sizes = {name: hp.get(name) for name in ("vocab_size", "embedding_dim", "dropout")}
        if network == "cnn":
            return partial(cnn_features, filters=hp.get("filters"), **sizes)
        if network == "gru":
            return partial(gru_features, gru_units=hp.get("units"), **sizes)
        if network == "bilstm_pooling":
            return partial(bilstm_features, lstm_units=hp.get("units"), **sizes)
        return partial(mean_features, **sizes)


hypermodel = Text(name="text")
