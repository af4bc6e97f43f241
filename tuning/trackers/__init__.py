"""Experiment trackers: threads that write a study to MLflow, TensorBoard or Weights & Biases.

Imports confirmation, inference, report, spaces, study and the modules directly in `tuning`.
"""
