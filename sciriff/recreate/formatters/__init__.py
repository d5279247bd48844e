"""Formatters by name: each module turns a source record into records with the fields that templates use."""
