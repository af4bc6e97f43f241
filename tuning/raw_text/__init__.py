"""Models that take the texts themselves: the texts of a corpus, batches of them, and the
vocabularies of the layers that split them.

Imports `data`.
"""
