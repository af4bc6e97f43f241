"""Which configuration is best on fresh seeds: the rounds of repeats, and the estimates from them.

Imports evaluation and the modules directly in `tuning`; neither Keras nor Optuna.
"""
