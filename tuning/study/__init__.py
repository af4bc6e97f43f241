"""A study in Optuna's storage: its data, its lock, its budget, its trials, its samplers and
its summary.
"""
