"""The command line: the commands, their flags, their output, and the log of a study.

Its modules may import every other package and the modules directly in `tuning`; heavy imports are
inside the commands, so that `--help` is fast.
"""
