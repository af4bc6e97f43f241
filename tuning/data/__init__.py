"""The rows of a data set: sources, tables, splits."""
