"""sweep.html: the page of several runs, after a sweep and from `python -m sciriff.compare --html`."""
