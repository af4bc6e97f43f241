"""Hyperparameter tuning for Keras text classifiers: Optuna proposes, Keras trains, one export takes
raw text.
"""

__version__ = "0.1.0"
