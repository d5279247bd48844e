"""What one node has written and another reads: on a shared file system it comes late, so it is waited for.

Who writes renames a whole file or folder into its place, or writes last the file that means that all is there.
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
    """Path -> digest of files as they are here, for `wait_for` elsewhere."""
    return {str(path): file_digest(path) for path in paths if path.exists()}


def wait_for(wanted: Iterable[Path] | Mapping[str, str | None], patience: float = PATIENCE) -> None:
    """Wait until all these files or folders are here, those with a digest as they were written. UserError names the
    first that does not come."""
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
    """Whether a file or folder, with this digest, is here by now."""
    try:
        # To list the folder makes an NFS client ask the server; without it, it remembers that a file was not there.
        there = path.name in os.listdir(path.parent)  # noqa: PTH208
        return there and path.exists() and (digest is None or file_digest(path) == digest)
    except OSError:
        return False
