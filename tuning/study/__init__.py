"""A study in Optuna's storage: opens and locks it, reads its trials, makes its samplers and sums it
up.

Imports confirmation, evaluation, spaces and the modules directly in `tuning`.
"""
