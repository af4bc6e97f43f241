"""The HTTP server of an export.

Imports data, evaluation, inference and the modules directly in `tuning`.
"""
