"""Model builders: functions from numbers to a compiled Keras model, or to the features that a
classifier reads.
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
