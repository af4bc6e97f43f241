"""Models that take the texts themselves: the texts of a corpus, batches of texts, and the
vocabularies of the layers that split texts into words.

Imports `data`.
"""
