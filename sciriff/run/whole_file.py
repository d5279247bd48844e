"""Write a file whole or not at all, or append lines; an error names the file."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sciriff.run.user_error import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, quota or file size limit."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an OSError that names none, such as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        what = f"{path} could not be written ({error.strerror})"
        named = OSError(f"{what}; what was there before is kept, and the same command resumes from there")
        named.errno = error.errno
        raise named from None


def make_folder_of(path: Path) -> None:
    """Make the folder of a file. UserError where a file has its name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{path} cannot be written: {path.parent} is a file, or lies below one") from None


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """Open a text file under a temporary name, which is renamed at the end, or removed if anything fails."""
    make_folder_of(path)
    partial = path.with_name(path.name + ".partial")
    with naming(path):
        try:
            partial.unlink(missing_ok=True)  # it may be a link, which would be written through
            with partial.open("x", encoding="utf-8", newline="\n") as file:
                yield file
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        partial.replace(path)


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file's content; with `durable` it is on the disk when this returns."""
    with whole(path) as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Append lines, each with its newline, all or none; they are on the disk when this returns."""
    make_folder_of(path)
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
