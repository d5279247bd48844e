"""Write a file whole or not at all, or add lines to one. What cannot be written is said in a line that names it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """OSError says that this file could not be written, and why: that of a full disk, from a write, names none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        named = OSError(
            f"{path} could not be written ({error.strerror}); what was there before is kept, and the same command goes "
            "on from there"
        )
        named.errno = error.errno
        raise named from None


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """A text file under a temporary name that gets its own when all of it is written. Where that fails the room that it
    took is given back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with naming(path):
        try:
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                yield file
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        partial.replace(path)


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file by this text; with `durable` it is on the disk when this returns."""
    with whole(path) as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines, each with its newline, and return when they are on the disk: all of them, or else none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), path.open("ab", buffering=0) as file:
        before = file.tell()
        data = memoryview("".join(lines).encode())
        try:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise
