"""Write the files of an export into a folder; what an export has not written there is never touched."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from sciriff.run.digest import file_digest
from sciriff.run.typed_json import read_json
from sciriff.run.user_error import UserError
from sciriff.run.visible import visible_line
from sciriff.run.whole_file import write_whole

LISTING = "export.json"
"""Name of each file -> its digest."""
COMPILED = "__pycache__"
"""Python leaves it beside the files that a harness imports."""


def write_export(folder: Path, files: Mapping[str, str]) -> None:
    """Write files (name -> text) in place of those of an earlier export. UserError for a file that is no export's or
    was changed since."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the export")
    for path in _earlier(folder):
        path.unlink()
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    # first, so that what a killed export has written is known as its own
    write_whole(folder / LISTING, json.dumps(digests, indent=1) + "\n")
    for name, text in files.items():
        write_whole(folder / name, text)


def _earlier(folder: Path) -> list[Path]:
    """The files of an earlier export, unchanged. UserError for any others."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    found = [path for path in found if COMPILED not in path.relative_to(folder).parts]
    listing = folder / LISTING
    known: dict[str, str] = {}
    if listing.is_file():
        known = read_json(listing, dict[str, str], "the list of an export's files", "choose another folder")
    files = [path for path in found if path != listing]
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name not in known:
            raise UserError(f"{folder} has {visible_line(name)}, which no export has written; choose another folder")
        if not path.is_file() or file_digest(path) != known[name]:
            raise UserError(f"{path} was changed since it was exported; move it away, or choose another folder")
    return files
