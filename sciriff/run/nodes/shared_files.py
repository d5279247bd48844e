"""Wait for files of another node, which a shared file system shows late.

Writers rename a whole file or folder into place, or write last the file whose existence means that all is there.
"""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sciriff.run.digest import file_digest
from sciriff.run.user_error import UserError

PATIENCE = 120.0
"""Seconds. NFS clients look again after 60 at the latest (acregmax and acdirmax in nfs(5))."""


def as_written(paths: Iterable[Path]) -> dict[str, str | None]:
    """Return path -> digest of the files that exist here, for `wait_for` elsewhere."""
    return {str(path): file_digest(path) for path in paths if path.exists()}


def wait_for(wanted: Iterable[Path] | Mapping[str, str | None], patience: float = PATIENCE) -> None:
    """Wait for files or folders, with their digests if given. UserError names the first missing after `patience` s."""
    digests: Mapping[str, str | None] = wanted if isinstance(wanted, Mapping) else dict.fromkeys(map(str, wanted))
    give_up_at = time.monotonic() + patience
    for path, digest in digests.items():
        while not is_here(Path(path), digest):
            if time.monotonic() > give_up_at:
                raise UserError(
                    f"{path} was written on another node and is not seen on {os.uname().nodename} after "
                    f"{patience:.0f} s: run_dir and cache_dir must be on a file system that all nodes share"
                )
            time.sleep(0.2)


def is_here(path: Path, digest: str | None = None) -> bool:
    """Return whether a file or folder, with this digest, is here by now."""
    try:
        # Listing the folder makes an NFS client ask the server; else it remembers that a file was not there.
        listed = path.name in os.listdir(path.parent)  # noqa: PTH208
        return listed and path.exists() and (digest is None or file_digest(path) == digest)
    except OSError:
        return False
