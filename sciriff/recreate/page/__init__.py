"""The page of a build: what was made, what was left out and a few rows of each task beside template and record."""
