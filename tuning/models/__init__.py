"""Model builders: functions from numbers to a compiled Keras model, or to the features that a
classifier reads. The arguments that they share:

- vocab_size, ngram_vocab_size: number of ids of words and of n-grams, padding and unknown included.
- n_classes: number of classes or labels; 1 for a number.
- multi_label: whether a text has several labels.
- training: learning rate, label smoothing, weight decay and moving average.

Their output is float32: (batch, 1), the probability of class 1, for two classes, or a number for
`n_classes=1`; (batch, n_classes) for more classes, or with `multi_label`.
"""

from tuning.models.classifier import TrainingOptions, head_of, training_of, words_classifier
from tuning.models.fitted_start import FittedStart
from tuning.models.lstm import lstm_classifier
from tuning.models.networks import bilstm_features, cnn_features, gru_features, mean_features
from tuning.models.ngrams import fit_linear_model, fit_ratios, ngram_classifier
from tuning.models.transformer import (
    encoder_width,
    features_classifier,
    fit_schedule,
    transformer_classifier,
)
from tuning.models.wide_deep import wide_deep_classifier

__all__ = [
    "FittedStart",
    "TrainingOptions",
    "bilstm_features",
    "cnn_features",
    "encoder_width",
    "features_classifier",
    "fit_linear_model",
    "fit_ratios",
    "fit_schedule",
    "gru_features",
    "head_of",
    "lstm_classifier",
    "mean_features",
    "ngram_classifier",
    "training_of",
    "transformer_classifier",
    "wide_deep_classifier",
    "words_classifier",
]
