"""The Python interface: `tune`, `compare`, the functions that load their results, and the classes
of these results. The command line calls the same functions.
"""
