"""Make SciRIFF, or rows like it, from raw corpora and templates: `python -m sciriff.recreate`.

`corpora` says which files each source comes in and reads them with `readers`; `formatters` turn a record into the
fields that the templates in `templates` use.
"""
