"""The held-out tasks in the formats of other harnesses, over this package's own scores, and runs as one table."""
