"""A pretrained text encoder of KerasHub, fine-tuned: `--preset` names it. The warm-up is from
Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text Classification"; the default
encoder and the three epochs of the starting point are from Devlin et al. (2019), "BERT".
"""

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from tuning.models import fit_schedule, transformer_classifier


class Transformer(keras_tuner.HyperModel):
    """A pretrained encoder, which needs one to three epochs."""

    starting_points = ({"max_epochs": 3, "sequence_length": 256},)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        # A BERT of 4 layers, 29 million parameters, 110 MB. KerasHub downloads it once.
        hp.Fixed("preset", "bert_small_en_uncased")
        hp.Choice("sequence_length", [64, 128, 256], default=128)
        hp.Float("learning_rate", 1e-5, 3e-4, sampling="log", default=1e-4)
        hp.Int("max_epochs", 1, 3, default=1)
        hp.Choice("warm_up", [0.0, 0.1, 0.3], default=0.1)
        hp.Choice("frozen_share", [0.0, 0.25, 0.5], default=0.0)
        hp.Float("dropout", 0.0, 0.3, step=0.1, default=0.1)
        hp.Choice("weight_decay", [0.0, 0.01, 0.1], default=0.01)
        hp.Choice("batch_size", [16, 32], default=32)
        hp.Choice("truncating", ["pre", "post", "middle"], default="middle")
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
            n_classes=hp.get("n_classes"),
        )

    def adapt(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        x: tf.data.Dataset,
        y: np.ndarray,
    ) -> None:
        fit_schedule(model, n_texts=len(y), batch_size=hp.get("batch_size"))


hypermodel = Transformer(name="transformer")
