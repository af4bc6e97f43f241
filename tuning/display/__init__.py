"""Output of commands and notebooks: consoles, progress, tables, and the log of a study."""
