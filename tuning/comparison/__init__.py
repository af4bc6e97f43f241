"""Comparisons of search spaces, which are searched for the same time on the same splits: the
searches, the paired differences between their best configurations, and one page.

Imports confirmation, data, evaluation, report, search, spaces, study, workers and the modules
directly in `tuning`.
"""
