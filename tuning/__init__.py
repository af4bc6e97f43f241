"""Hyperparameter tuning for Keras text classifiers.

Optuna proposes configurations, Keras trains them, and the best is exported as one model that takes
raw text.
"""

__version__ = "0.1.0"
