"""The embedded sample: a few hundred invented rows and a small tokenizer, enough to run the whole job offline.

Written by `python -m sciriff.sample.generate`; nothing in it comes from a real corpus.
"""
