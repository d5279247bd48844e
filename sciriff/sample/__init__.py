"""The embedded sample: a few hundred invented rows and a small tokenizer, enough to run the whole job offline.

tools/sample writes it, but for recreate/templates/ and general/, which are written by hand; nothing in it comes from a
real corpus or benchmark.
"""
