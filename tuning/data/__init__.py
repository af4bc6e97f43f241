"""Reviews from files to token ids: sources, labels, splits, the tokeniser and the corpus on disk.

Imports only the modules directly in `tuning`.
"""
