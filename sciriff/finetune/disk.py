"""One-line errors for failed writes: each library reports a full disk in its own words, or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sciriff.run import known_errors
from sciriff.run.whole_file import NO_ROOM

NOTHING_LEFT = 1 << 20
"""A disk with fewer free bytes than this counts as full."""


@contextmanager
def writing(path: Path, advice: str) -> Iterator[None]:
    """Turn errors of writing into an OSError with the path, the reason, the free space and `advice`."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if (reason := _reason(path, error)) is None:
            raise
        free = shutil.disk_usage(path.parent).free / 2**30
        raise OSError(f"{path} could not be written: {reason} ({free:,.1f} GiB are free). {advice}") from error


def _reason(path: Path, error: Exception) -> str | None:
    """Return why writing failed; None for an error that is not about writing."""
    text = str(error)
    from_torch = isinstance(error, RuntimeError)
    if from_torch and not known_errors.TORCH_WRITES.search(error):
        return None
    number = error.errno if isinstance(error, OSError) else None
    full = number in NO_ROOM or known_errors.DISK_FULL.search(error)
    if full or (from_torch and shutil.disk_usage(path.parent).free < NOTHING_LEFT):
        return "the disk is full, or a quota is used up"
    return text.partition("\n")[0] if number is not None or not from_torch else "torch could not write its file"
