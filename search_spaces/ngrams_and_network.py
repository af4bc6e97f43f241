"""N-grams beside a network that reads the words: a linear model of phrases, and a network for the
rest of a text (Cheng et al. 2016, "Wide & Deep Learning for Recommender Systems").
"""

from functools import partial

import keras
import keras_tuner

from tuning.models import (
    FittedStart,
    bilstm_features,
    cnn_features,
    head_of,
    mean_features,
    training_of,
    wide_deep_classifier,
)


class NgramsAndNetwork(FittedStart, keras_tuner.HyperModel):
    """A linear model beside a network. `deep` chooses the network."""

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Choice("deep", ["mean_embedding", "cnn", "bilstm_pooling"], default="cnn")
        hp.Int("ngrams", 1, 3, default=3)
        hp.Int("ngram_vocab_size", 20_000, 800_000, sampling="log", default=500_000)
        # On the Amazon reviews, C = 10 and 30 with rates of 0.2, 1 and 5 have validation accuracies
        # of 0.8883 to 0.8920, with means of 0.8906 (C = 10) and 0.8901 (docs/benchmarks.md).
        hp.Float("ngram_c", 1.0, 300.0, sampling="log", default=10.0)
        hp.Choice("ngram_weighting", ["log_count_ratios", "inverse_document_frequencies"])
        hp.Float("ngram_dropout", 0.0, 0.8, step=0.1, default=0.0)
        hp.Float("ngram_rate", 0.1, 20.0, sampling="log", default=1.0)
        hp.Int("vocab_size", 2_000, 60_000, sampling="log", default=30_000)
        hp.Int("sequence_length", 64, 512, step=32, default=256)
        hp.Int("embedding_dim", 16, 128, sampling="log", default=64)
        with hp.conditional_scope("deep", ["cnn"]):
            hp.Int("filters", 16, 128, sampling="log", default=48)
        with hp.conditional_scope("deep", ["bilstm_pooling"]):
            hp.Int("lstm_units", 16, 64, sampling="log", default=32)
        hp.Float("dropout", 0.0, 0.5, step=0.05, default=0.3)
        hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=1e-3)
        hp.Choice("batch_size", [32, 64, 128, 256], default=64)
        hp.Choice("truncating", ["pre", "post", "middle"], default="middle")
        hp.Fixed("n_classes", 2)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return wide_deep_classifier(
            self._features(hp),
            ngram_vocab_size=hp.get("ngram_vocab_size"),
            ngram_dropout=hp.get("ngram_dropout"),
            unit_length=True,
            ngram_rate=hp.get("ngram_rate"),
            **head_of(hp),
            training=training_of(hp),
        )

    def _features(self, hp: keras_tuner.HyperParameters) -> partial[keras.KerasTensor]:
        sizes = {name: hp.get(name) for name in ("vocab_size", "embedding_dim", "dropout")}
        if hp.get("deep") == "cnn":
            return partial(cnn_features, filters=hp.get("filters"), **sizes)
        if hp.get("deep") == "bilstm_pooling":
            return partial(bilstm_features, lstm_units=hp.get("lstm_units"), **sizes)
        return partial(mean_features, **sizes)


hypermodel = NgramsAndNetwork(name="ngrams_and_network")
