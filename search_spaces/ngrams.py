"""A linear model of n-grams that are weighted by naive Bayes' log-count ratios, from Wang and
Manning (2012), "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification".
"""

import keras
import keras_tuner

from tuning.models import FittedStart, head_of, ngram_classifier, training_of


class Ngrams(FittedStart, keras_tuner.HyperModel):
    """A model of the set of a text's words, pairs and triples of words. An epoch takes seconds."""

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Int("ngrams", 1, 3, default=3)
        # 18,000 Amazon reviews have 360,000 n-grams that occur twice, 23,000 film reviews 700,000.
        hp.Int("ngram_vocab_size", 20_000, 800_000, sampling="log", default=500_000)
        hp.Float("ngram_c", 1.0, 300.0, sampling="log", default=10.0)
        hp.Choice("ngram_weighting", ["log_count_ratios", "inverse_document_frequencies"])
        # With no dropout and a rate of 0.005, training loses a part of what `adapt` has fitted: up
        # to 0.005 of accuracy in five epochs (docs/training.md).
        hp.Float("ngram_dropout", 0.0, 0.8, step=0.1, default=0.5)
        hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
        hp.Choice("batch_size", [32, 64, 128, 256], default=64)
        hp.Fixed("n_classes", 2)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return ngram_classifier(
            vocab_size=hp.get("ngram_vocab_size"),
            dropout=hp.get("ngram_dropout"),
            unit_length=True,
            **head_of(hp),
            training=training_of(hp),
        )


hypermodel = Ngrams(name="ngrams")
