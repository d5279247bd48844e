"""Lines for people: `say` on standard error, `show`, for results, on standard output. Nothing else here prints.

A line may hold names, answers and words of strangers, so whatever would steer a terminal or begin another line is shown
as a visible character (visible.py).
"""

import sys
import traceback
from types import TracebackType
from typing import TextIO

from sciriff.run.user_error import InLines
from sciriff.run.visible import visible_line


def say(*lines: object) -> None:
    """Print lines on standard error."""
    _print(lines, sys.stderr)


def show(*lines: object) -> None:
    """Print lines on standard output."""
    _print(lines, sys.stdout)


def say_error(error: BaseException | str, about: str = "") -> None:
    """Print what went wrong, and before it what it is `about`."""
    first, *others = error.lines if isinstance(error, InLines) else (str(error),)
    say(f"error: {about}{first}", *others)


def say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug, as sys.excepthook: its message may hold what it stumbled over."""
    say(*"".join(traceback.format_exception(kind, error, trace)).rstrip("\n").split("\n"))


def _print(lines: tuple[object, ...], file: TextIO) -> None:
    print("".join(f"{visible_line(line)}\n" for line in lines), end="", file=file, flush=True)
