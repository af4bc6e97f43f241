"""Model builders: functions from numbers to a compiled Keras model.

Imports Keras alone: neither `hp` nor `trial` is an argument.
"""

from tuning.models.lstm import lstm_classifier
from tuning.models.ngrams import fit_ratios, ngram_classifier

__all__ = ["fit_ratios", "lstm_classifier", "ngram_classifier"]
