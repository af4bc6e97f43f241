"""Reading an export: its manifest, its runtimes, and labels for texts and files. The package
imports neither Optuna nor KerasTuner.

Imports data, evaluation and the modules directly in `tuning`.
"""
