"""Lines for people, on standard error: standard output is for results."""

import sys


def say(text: str) -> None:
    """Print a line."""
    print(text, file=sys.stderr, flush=True)


def say_error(error: BaseException | str) -> None:
    """Print what went wrong."""
    say(f"error: {error}")
