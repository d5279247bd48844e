"""Rows in and out: sources, instances, token files, saved answers, judgements."""
