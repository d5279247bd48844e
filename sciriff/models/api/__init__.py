"""Clients of models that answer over HTTP: calls are bounded, paced, retried and capped in price.

Only the standard library is needed. Keys are handed in by the caller and are blanked out of everything that comes back.
"""
