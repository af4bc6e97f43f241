"""A study for people: sentences, tables, figures, the page, Optuna Dashboard.

Imports confirmation, data, evaluation, spaces, study and the modules directly in `tuning`.
"""
