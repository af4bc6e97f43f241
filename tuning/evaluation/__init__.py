"""Evaluate a model's probabilities: metrics, intervals, paired tests, references, the test split.

Imports data and the modules directly in `tuning`.
"""
