"""Clients of models that answer over HTTP: calls are bounded, paced, retried and capped in price.

The providers' own clients are loaded when the first call is made. Keys are handed in by the caller and are blanked out
of everything that comes back.
"""
