"""The held-out tasks in the formats of other evaluation harnesses, over this package's own scores."""
