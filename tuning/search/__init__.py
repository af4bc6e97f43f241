"""One call of `tune` or `confirm`: ask Optuna, give trials to workers, report, pause, stop, write.

Imports confirmation, data, spaces, study, training, workers and the modules directly in `tuning`.
Figures come in as a hook.
"""
