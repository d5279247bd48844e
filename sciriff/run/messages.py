"""Lines for people: `say` on standard error, `show`, for results, on standard output. Nothing else here prints.

A line may hold names, answers and words of strangers, so whatever would steer a terminal or begin another line is shown
as a visible character (visible.py).
"""

import logging
import sys
import traceback
import warnings
from types import TracebackType
from typing import Any, TextIO

from sciriff.run.user_error import InLines
from sciriff.run.visible import visible, visible_line


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


def flush() -> None:
    """Write out what libraries have printed, before a process ends without doing so."""
    sys.stdout.flush()
    sys.stderr.flush()


def clean_logging() -> None:
    """Have loggers and warnings, of libraries too, say their messages as `say` does: they may quote a file."""
    make = logging.getLogRecordFactory()

    def cleaned(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = make(*arguments, **more)
        record.msg, record.args = visible(record.getMessage()), ()
        return record

    logging.setLogRecordFactory(cleaned)
    shown = warnings.formatwarning
    warnings.formatwarning = lambda *arguments, **more: visible(shown(*arguments, **more))


def _print(lines: tuple[object, ...], file: TextIO) -> None:
    print("".join(f"{visible_line(line)}\n" for line in lines), end="", file=file, flush=True)
