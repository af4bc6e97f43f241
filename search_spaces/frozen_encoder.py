"""The default with `--preset`: n-grams, a pretrained encoder, and both. The encoder reads every
text once, before the search. A trial trains a head on what it gave, alone or beside the words, or
its last layers on what the layers below them gave.
"""

from functools import partial
from typing import Any

import keras
import keras_tuner

from tuning.models import (
    FittedStart,
    features_classifier,
    head_of,
    mean_features,
    ngram_classifier,
    training_of,
    transformer_classifier,
)

# Architectures by what they read.
NGRAMS = ["ngrams", "both"]
FEATURES = ["features", "both"]


class FrozenEncoder(FittedStart, keras_tuner.HyperModel):
    """N-grams, features of a pretrained encoder, and both. `adapt` fits the n-grams."""

    starting_points = (
        {"architecture": "both"},
        # With two trained layers, 0.6 had the best validation accuracy of all shares
        # (docs/transformers.md).
        {"architecture": "both", "trained_layers": 2, "ngram_share": 0.6, "batch_size": 32},
        # This point gets the n-grams and C of the tuned linear model. A search in which the encoder
        # does not help can then be as good as that model.
        {"architecture": "ngrams"},
        {"architecture": "both", "ngram_share": 0.7},
        {"architecture": "features"},
    )

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Choice("architecture", ["ngrams", "features", "both"], default="ngrams")
        with hp.conditional_scope("architecture", NGRAMS):
            hp.Int("ngrams", 1, 3, default=3)
            hp.Int("ngram_vocab_size", 20_000, 800_000, sampling="log", default=500_000)
            hp.Float("ngram_c", 1.0, 300.0, sampling="log", default=10.0)
            hp.Choice("ngram_weighting", ["log_count_ratios", "inverse_document_frequencies"])
        with hp.conditional_scope("architecture", FEATURES):
            hp.Fixed("preset", "bert_small_en_uncased")
            hp.Fixed("feature_length", 128)
            hp.Choice("trained_layers", [0, 2], default=0)
            with hp.conditional_scope("trained_layers", [0]):
                hp.Choice("units", [0, 128, 256, 512], default=256)
                hp.Float("dropout", 0.0, 0.7, step=0.1, default=0.5)
                hp.Boolean("has_words", default=False)
                with hp.conditional_scope("has_words", [True]):
                    hp.Int("vocab_size", 5_000, 60_000, sampling="log", default=30_000)
                    hp.Int("embedding_dim", 16, 128, sampling="log", default=64)
                    # An export has one length, so the words are cut as the encoder's tokens are.
                    hp.Fixed("sequence_length", 128)
                    hp.Fixed("truncating", "middle")
            with hp.conditional_scope("trained_layers", [2]):
                hp.Float("encoder_learning_rate", 3e-5, 1e-3, sampling="log", default=3e-4)
                hp.Int("max_epochs", 1, 3, default=1)
        with hp.conditional_scope("architecture", ["both"]):
            hp.Float("ngram_share", 0.2, 0.8, step=0.1, default=0.5)
        # KerasTuner takes no name under two conditions; trained layers have a rate of their own.
        hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=2e-3)
        hp.Choice("batch_size", [32, 64, 128], default=64)
        hp.Fixed("n_classes", 2)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        architecture, head = hp.get("architecture"), head_of(hp)
        vote = ("ngram_vocab_size", "ngram_share") if architecture == "both" else ()
        ngrams: dict[str, Any] = {name: hp.get(name) for name in vote}
        if _trains_layers(hp):
            return transformer_classifier(
                hp.get("preset"),
                trained_layers=hp.get("trained_layers"),
                learning_rate=hp.get("encoder_learning_rate"),
                epochs=hp.get("max_epochs"),
                **head,
                **ngrams,
            )
        training = training_of(hp)
        if architecture == "ngrams":
            return ngram_classifier(
                vocab_size=hp.get("ngram_vocab_size"), unit_length=True, training=training, **head
            )
        return features_classifier(
            hp.get("preset"),
            words=_words(hp) if hp.get("has_words") else None,
            units=hp.get("units"),
            dropout=hp.get("dropout"),
            training=training,
            **head,
            **ngrams,
        )


def _words(hp: keras_tuner.HyperParameters) -> partial[keras.KerasTensor]:
    sizes = {name: hp.get(name) for name in ("vocab_size", "embedding_dim")}
    return partial(mean_features, **sizes)


def _trains_layers(hp: keras_tuner.HyperParameters) -> bool:
    return hp.get("architecture") in FEATURES and hp.get("trained_layers") > 0


hypermodel = FrozenEncoder(name="frozen_encoder")
