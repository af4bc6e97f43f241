"""Which models ignore the padding after a text, and their training without it."""
