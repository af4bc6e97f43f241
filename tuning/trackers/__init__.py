"""Experiment trackers: a study written to MLflow, TensorBoard or Weights & Biases.

Imports confirmation, inference, report, spaces, study and the modules directly in `tuning`.
"""
