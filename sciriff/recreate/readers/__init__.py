"""Readers of the formats that corpora come in. They know no task."""
