"""What a command or a notebook shows: consoles, progress, tables, and the log of a study.

Imports confirmation, data, evaluation, export, report, search, spaces, study and the modules
directly in `tuning`.
"""
