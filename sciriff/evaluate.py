"""Evaluate without training: `python -m sciriff.train train=none ...` by a shorter name."""

import sys

from sciriff.train import main

if __name__ == "__main__":
    sys.argv.insert(1, "train=none")
    sys.exit(main())
