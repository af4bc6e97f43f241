"""Model builders: functions from numbers to a compiled Keras model.

Imports Keras alone: neither `hp` nor `trial` is an argument.
"""

from tuning.models.bilstm_pooling import bilstm_pooling_classifier
from tuning.models.classifier import TrainingOptions
from tuning.models.cnn import cnn_classifier
from tuning.models.gru import gru_classifier
from tuning.models.lstm import lstm_classifier
from tuning.models.mean_embedding import mean_embedding_classifier
from tuning.models.ngrams import fit_ratios, ngram_classifier

__all__ = [
    "TrainingOptions",
    "bilstm_pooling_classifier",
    "cnn_classifier",
    "fit_ratios",
    "gru_classifier",
    "lstm_classifier",
    "mean_embedding_classifier",
    "ngram_classifier",
]
