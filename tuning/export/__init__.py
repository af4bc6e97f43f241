"""Exports: the retraining of a study's best trial, the model in every format, parity checks, and
the model card.

Imports confirmation, data, evaluation, inference, padding, pretrained, raw_text, spaces, study,
training, workers and the modules directly in `tuning`.
"""
