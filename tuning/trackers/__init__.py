"""Experiment trackers: threads that write a study to MLflow, TensorBoard or Weights & Biases."""
