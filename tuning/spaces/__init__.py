"""Search spaces: the user's files, and the one place where KerasTuner's hyperparameters become
Optuna's.

Imports only the modules directly in `tuning`.
"""
