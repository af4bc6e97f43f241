"""Search spaces: the users' files, and the only module that converts KerasTuner's hyperparameters
to Optuna's.
"""
