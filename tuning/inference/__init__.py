"""Reading an export: its manifest, its runtimes, labels for texts and files. No Optuna, no
KerasTuner.

Imports data, evaluation and the modules directly in `tuning`.
"""
