"""Model builders: numbers in, a compiled Keras model out. They know no `hp` and no `trial`."""

from tuning.models.lstm import lstm_classifier

__all__ = ["lstm_classifier"]
