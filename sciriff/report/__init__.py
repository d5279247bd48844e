"""Write report.html: what a run scored, how it was trained and what it answered, on one page that needs no network.

`run_scores` reads scores, `cards` arranges them by task, `figures` and `bars` draw, `page` fills the template.
`python -m sciriff.report RUN_DIR` runs it; `sweep/` is the page of several runs.
"""
