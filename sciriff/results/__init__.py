"""Numbers of finished runs: scores, intervals, comparisons, and tables of them."""
