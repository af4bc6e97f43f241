"""Exports: the retraining of a study's best trial, the model in every format, parity checks, and
the model card.
"""
