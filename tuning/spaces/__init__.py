"""Search spaces: the users' files, and the only module that converts KerasTuner's hyperparameters
to Optuna's.

Keras, KerasTuner and Optuna are imported inside functions: the coordinator imports this package
without Keras and KerasTuner, and a worker without Optuna.
"""
