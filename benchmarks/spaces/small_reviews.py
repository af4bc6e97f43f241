"""The default search space with small models, for a measurement over many trials."""

from typing import Any

import keras_tuner

from tuning.spaces.files import find_space
from tuning.spaces.loading import load_hypermodel

Reviews: Any = type(load_hypermodel(find_space("reviews")))


class SmallReviews(Reviews):
    # The first declaration of a name wins, so these ranges replace those of `reviews`.
    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        architectures = ["lstm", "ngrams", "wide_deep", "cnn", "mean_embedding", "gru"]
        hp.Choice("architecture", [*architectures, "bilstm_pooling"], default="lstm")
        for kinds in (["lstm"], [*architectures[2:], "bilstm_pooling"]):
            with hp.conditional_scope("architecture", kinds):
                hp.Int("vocab_size", 2_000, 8_000, sampling="log", default=4_000)
                hp.Int("sequence_length", 32, 64, step=32, default=64)
                hp.Int("embedding_dim", 8, 32, sampling="log", default=16)
        with hp.conditional_scope("architecture", ["lstm"]):
            hp.Int("lstm_units", 8, 32, sampling="log", default=16)
        with hp.conditional_scope("architecture", ["ngrams", "wide_deep"]):
            hp.Int("ngram_vocab_size", 20_000, 100_000, sampling="log", default=50_000)
        super().declare_hyperparameters(hp)


hypermodel = SmallReviews(name="small_reviews")
