"""A head on the features of a pretrained encoder that is not trained."""

import keras

from tuning.models.classifier import (
    DEFAULT_TRAINING,
    TrainingOptions,
    class_activation,
    compile_classifier,
    output_width,
)
from tuning.models.transformer import encoder_width, with_votes


def features_classifier(
    preset: str,
    *,
    units: int = 0,
    dropout: float = 0.0,
    ngram_vocab_size: int = 0,
    ngram_share: float = 0.5,
    n_classes: int = 2,
    multi_label: bool = False,
    training: TrainingOptions = DEFAULT_TRAINING,
) -> keras.Model:
    """Return a compiled classifier of features, with n-grams beside them as in
    `transformer_classifier`.

    The input "features" is float32 (batch, width): the mean of the vectors that the encoder of the
    preset gives for the tokens of a text. The second input is "ngrams", if `ngram_vocab_size` is
    not 0.

    Args:
        preset: a folder, an address, or a name in KerasHub's list. Only its width is read.
        units: number of units of a hidden layer; 0 for none.
        dropout: share of the columns before the last layer that is dropped in training.
        ngram_vocab_size: number of n-gram ids, padding and unknown included; 0 for a model without
            n-grams.
        ngram_share: weight of the logits of the n-grams, from 0 to 1.
        n_classes: number of classes or labels; 1 for a number.
        multi_label: whether a text has several labels.
        training: learning rate, label smoothing, weight decay and moving average.

    Raises:
        SpaceError: KerasHub is not installed, or can't load the preset.
    """
    features = keras.Input((encoder_width(preset),), name="features")
    x = keras.layers.LayerNormalization(center=False, scale=False)(features)
    if units:
        x = keras.layers.Dense(units, activation="relu")(x)
    x = keras.layers.Dropout(dropout)(x)
    logits = keras.layers.Dense(output_width(n_classes, multi_label))(x)
    model = with_votes(
        features,
        logits,
        class_activation(n_classes, multi_label),
        vocab_size=ngram_vocab_size,
        share=ngram_share,
        name="features",
    )
    return compile_classifier(
        model, n_classes=n_classes, multi_label=multi_label, training=training
    )
