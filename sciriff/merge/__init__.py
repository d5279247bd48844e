"""Merge the weights of models tensor by tensor, in the place of a training: `python -m sciriff.merge RUN_DIR`."""
