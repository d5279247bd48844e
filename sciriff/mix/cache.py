"""Share what is costly to build among runs: a folder per key, built once under a lock, complete or not there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sciriff.run.locks import hold_or_wait
from sciriff.run.messages import show
from sciriff.run.user_error import UserError
from sciriff.run.whole_file import NO_ROOM


def build_once(folder: Path, what: str, is_whole: Callable[[Path], bool], build: Callable[[Path], None]) -> bool:
    """Build `folder` unless it is there and `is_whole`; return whether this call has built it.

    `build` fills an empty folder that is then renamed. Another process that wants the same folder waits and says so.
    What a killed process left is removed. UserError if the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(folder.name + ".lock")
    with hold_or_wait(lock, f"{what}: another run is building it; waiting for {lock}"):
        if folder.is_dir() and is_whole(folder):
            show(f"{what}: already built ({folder})")
            return False
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            build(partial)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not isinstance(error, OSError) or error.errno not in NO_ROOM:
                raise
            problem = f"{folder}: there is no room for the {what} ({os.strerror(error.errno)})"
            raise UserError(f"{problem}; make some, or set cache_dir to a folder elsewhere") from None
        if folder.exists():
            show(f"{what}: what was kept is not whole, built anew ({folder})")
            shutil.rmtree(folder)
        partial.rename(folder)
        return True
