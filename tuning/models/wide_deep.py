"""N-grams beside features of the words: a linear model and a neural network in one.

The sources are Cheng et al. (2016), "Wide & Deep Learning for Recommender Systems", and Mesnil et
al. (2014), "Ensemble of Generative and Discriminative Techniques for Sentiment Analysis of Movie
Reviews", who average the two.
"""

from collections.abc import Callable

import keras

from tuning.models.classifier import (
    DEFAULT_TRAINING,
    TrainingOptions,
    class_activation,
    compile_classifier,
    output_width,
)
from tuning.models.ngrams import ngram_logits, scaled


def wide_deep_classifier(
    features: Callable[[keras.KerasTensor], keras.KerasTensor],
    *,
    ngram_vocab_size: int,
    ngram_dropout: float = 0.0,
    ngram_rate: float = 5.0,
    unit_length: bool = False,
    n_classes: int = 2,
    multi_label: bool = False,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """Return a compiled classifier whose logits are the sum of `ngram_logits` and of a dense layer
    on features of the words.

    The inputs are "ids", int32 token ids (batch, length), and "ngrams", int32 ids (batch, n) of the
    distinct n-grams; 0 is padding in both. The output is that of `lstm_classifier`.

    Args:
        features: a function from token ids to float32 (batch, n), as for `words_classifier`.
        ngram_vocab_size: number of n-gram ids, padding and unknown included.
        ngram_dropout: share of a text's n-grams that are left out in training.
        ngram_rate: how many times faster than the rest the weights of the n-grams are trained: a
            network that reads words fits the training texts after two or three epochs.
        unit_length: as for `ngram_logits`.
        n_classes, multi_label, training: as for `words_classifier`.
    """
    n_outputs = output_width(n_classes, multi_label)
    ids = keras.Input((None,), dtype="int32", name="ids")
    ngrams = keras.Input((None,), dtype="int32", name="ngrams")
    wide = ngram_logits(
        ngrams,
        vocab_size=ngram_vocab_size,
        n_outputs=n_outputs,
        dropout=ngram_dropout,
        rate=ngram_rate,
        unit_length=unit_length,
    )
    deep = keras.layers.Dense(n_outputs, name="word_logits")(features(ids))
    logits = keras.layers.Add()([scaled(wide), deep])
    outputs = class_activation(n_classes, multi_label)(logits)
    model = keras.Model([ids, ngrams], outputs, name="ngrams_and_network")
    return compile_classifier(
        model, n_classes=n_classes, multi_label=multi_label, training=training
    )
