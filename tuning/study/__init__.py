"""A study in Optuna's storage: its data, its lock, its coordinators, its trials, its samplers and
its summary.
"""
