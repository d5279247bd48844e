"""Share what is dear to build among runs: a folder per key, built once under a lock, and whole or not there at all."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sciriff.run.locks import hold_or_wait
from sciriff.run.user_error import UserError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, the user's part of it or the largest allowed file is full: errors that do not name a file."""


def build_once(folder: Path, what: str, is_whole: Callable[[Path], bool], build: Callable[[Path], None]) -> bool:
    """Have `folder` built unless it is there and whole; True where this call has built it.

    `build` fills an empty folder that is then renamed. Another process that wants the same folder waits for it, and
    says so. What a killed process left behind is cleared away. UserError where there is no room for it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(folder.name + ".lock")
    with hold_or_wait(lock, f"{what}: another run is building it; waiting for {lock}"):
        if folder.is_dir() and is_whole(folder):
            print(f"{what}: already built ({folder})", flush=True)
            return False
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            build(partial)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if error.errno not in NO_ROOM:
                raise
            why = os.strerror(error.errno)
            raise UserError(
                f"{folder}: there is no room for the {what} ({why}); make some, or set cache_dir to a folder elsewhere"
            ) from None
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if folder.exists():
            print(f"{what}: what was kept is not whole, built anew ({folder})", flush=True)
            shutil.rmtree(folder)
        partial.rename(folder)
        return True
