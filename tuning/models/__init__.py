"""Model builders: functions from numbers to a compiled Keras model.

Imports Keras alone: neither `hp` nor `trial` is an argument.
"""

from tuning.models.lstm import lstm_classifier

__all__ = ["lstm_classifier"]
