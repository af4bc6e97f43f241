"""A pretrained text encoder of KerasHub, fine-tuned: `--preset` names it. The warm-up is from
Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text Classification"; the default
encoder and three epochs are from Devlin et al. (2019), "BERT". A linear model of n-grams may vote
beside the encoder, which finds what one of the two does not.
"""

import keras
import keras_tuner

from tuning.models import FittedStart, head_of, transformer_classifier


class FinetunedEncoder(FittedStart, keras_tuner.HyperModel):
    """A pretrained encoder, which needs one to three epochs. `adapt` fits the n-grams."""

    starting_points = (
        {"has_ngrams": True},
        # Three of the two to four epochs that the paper on BERT recommends.
        {"has_ngrams": True, "max_epochs": 3, "sequence_length": 256},
    )

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        # A BERT of 4 layers, 29 million parameters, 110 MB. KerasHub downloads it once.
        hp.Fixed("preset", "bert_small_en_uncased")
        hp.Choice("sequence_length", [64, 128, 256], default=128)
        hp.Float("learning_rate", 1e-5, 3e-4, sampling="log", default=1e-4)
        hp.Int("max_epochs", 1, 3, default=1)
        hp.Choice("warm_up", [0.0, 0.1, 0.3], default=0.1)
        # Frozen layers are still computed: a step of MiniLM takes 0.70 s with half of its layers
        # frozen, and 1.03 s with none (docs/transformers.md).
        hp.Choice("frozen_share", [0.0, 0.25, 0.5], default=0.0)
        hp.Float("dropout", 0.0, 0.3, step=0.1, default=0.1)
        hp.Choice("weight_decay", [0.0, 0.01, 0.1], default=0.01)
        hp.Choice("batch_size", [16, 32], default=32)
        hp.Choice("truncating", ["pre", "post", "middle"], default="middle")
        hp.Boolean("has_ngrams", default=False)
        with hp.conditional_scope("has_ngrams", [True]):
            hp.Float("ngram_share", 0.2, 0.8, step=0.1, default=0.5)
            hp.Int("ngrams", 1, 3, default=3)
            hp.Int("ngram_vocab_size", 20_000, 800_000, sampling="log", default=500_000)
            hp.Float("ngram_c", 1.0, 300.0, sampling="log", default=10.0)
        hp.Fixed("n_classes", 2)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return transformer_classifier(
            hp.get("preset"),
            learning_rate=hp.get("learning_rate"),
            epochs=hp.get("max_epochs"),
            warm_up=hp.get("warm_up"),
            weight_decay=hp.get("weight_decay"),
            dropout=hp.get("dropout"),
            frozen_share=hp.get("frozen_share"),
            ngram_vocab_size=hp.get("ngram_vocab_size") if hp.get("has_ngrams") else 0,
            ngram_share=hp.get("ngram_share") if hp.get("has_ngrams") else 0.0,
            **head_of(hp),
        )


hypermodel = FinetunedEncoder(name="finetuned_encoder")
