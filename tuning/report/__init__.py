"""The results of a study for readers: sentences, tables, figures, a page, and Optuna Dashboard."""
