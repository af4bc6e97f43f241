"""Models whose output does not depend on the padding after a text, and their training without it.

Imports only the modules directly in `tuning`.
"""
