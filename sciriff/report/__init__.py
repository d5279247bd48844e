"""Write report.html: what a run scored, how it was trained and what it answered, on one page that needs no network.

`tables` reads scores and arranges them, `figures` draws, `page` fills the template. `python -m sciriff.report RUN_DIR`.
"""
