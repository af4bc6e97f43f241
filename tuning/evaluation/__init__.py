"""What a model's probabilities are worth: metrics, intervals and tests, references, the test split.

Imports data and the modules directly in `tuning`.
"""
