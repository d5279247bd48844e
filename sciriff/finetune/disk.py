"""What could not be written, and why, in one line: libraries tell of a full disk in words of their own, or in none."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sciriff.run import known_errors

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOTHING_LEFT = 1 << 20
"""Bytes free on a disk that count as none."""


@contextmanager
def writing(path: Path, then: str) -> Iterator[None]:
    """OSError says that `path` could not be written, why, how much is free, and what to do `then`."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if (reason := _reason(path, error)) is None:
            raise
        free = shutil.disk_usage(path.parent).free / 2**30
        raise OSError(f"{path} could not be written: {reason} ({free:,.1f} GiB are free there). {then}") from error


def _reason(path: Path, error: Exception) -> str | None:
    """Why writing failed; None for an error that is not about writing."""
    text = str(error)
    of_torch = isinstance(error, RuntimeError)
    if of_torch and not known_errors.TORCH_WRITES.search(error):
        return None
    number = error.errno if isinstance(error, OSError) else None
    full = number in FULL or known_errors.DISK_FULL.search(error)
    if full or (of_torch and shutil.disk_usage(path.parent).free < NOTHING_LEFT):
        return "the disk is full, or a quota is used up"
    return text.partition("\n")[0] if number is not None or not of_torch else "torch could not write its file"
