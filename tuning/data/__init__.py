"""From data files to token ids: sources, labels, splits, the tokenizer and the corpus on disk.

Imports only the modules directly in `tuning`.
"""
