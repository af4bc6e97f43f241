"""Output of commands and notebooks: consoles, progress, tables, and the log of a study.

Imports confirmation, data, evaluation, export, report, search, spaces, study and the modules
directly in `tuning`.
"""
