"""The Python interface: `tune`, `load_study`, `load_export`, and the classes of their results. The
command line calls the same functions.

Imports confirmation, data, display, evaluation, export, inference, report, search, spaces, study,
trackers, workers and the modules directly in `tuning`.
"""
