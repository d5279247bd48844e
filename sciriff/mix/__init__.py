"""Build the training mix: `python -m sciriff.mix RUN_DIR`.

`sources` turns raw rows into conversations, `recipe` says which of them are taken and in what order, `build` writes
them down, `tokenise` makes token ids of them, `card` counts what came of it, and `cache` shares all that among runs.
"""
