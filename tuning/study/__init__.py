"""A study in Optuna's storage: opened and locked, its trials, its samplers, its summary.

Imports confirmation, evaluation, spaces and the modules directly in `tuning`.
"""
