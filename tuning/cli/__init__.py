"""The command line: commands, flags, what they print, the log.

Imports every other package and the modules directly in `tuning`.
"""
