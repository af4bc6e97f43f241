"""The results of a study for readers: sentences, tables, figures, a page, and Optuna Dashboard.

Imports confirmation, data, evaluation, spaces, study and the modules directly in `tuning`.
"""
