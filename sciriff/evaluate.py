"""Evaluate without training: `python -m sciriff.train train=none ...` by a shorter name."""

import signal

if __name__ == "__main__":  # as in sciriff.train
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser

from sciriff import train

OVERRIDE = "train=none"


def main() -> int:
    """Run the command line as sciriff.train does, with OVERRIDE in it."""
    sys.argv[1:] = with_override(sys.argv[1:])
    return train.main()


def with_override(typed: Sequence[str]) -> list[str]:
    """The command line with OVERRIDE first of the overrides, which Hydra takes only in one row."""
    overrides = get_args_parser().parse_known_args(typed)[0].overrides
    first = typed.index(overrides[0]) if overrides else 0
    return [*typed[:first], OVERRIDE, *typed[first:]]


if __name__ == "__main__":
    sys.exit(main())
