"""Which configuration is best on fresh seeds: the rounds of repeats, and the estimates out of them.
No Keras, no Optuna.

Imports evaluation and the modules directly in `tuning`.
"""
