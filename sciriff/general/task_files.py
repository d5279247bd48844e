"""Find the folders of lm-eval's task files that some names need: parsing all 14,000 takes 16 s, reading one.

Names are looked up in the text of the files. A folder too many costs a moment, and one too few ends in an error of
lm-eval.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

DEFINES = re.compile(rb"""^[ ]{0,2}["']?(?:task|group|tag)["']?[ ]*:[ ]*["']?([\w.+-]+)["']?[ ]*\r?$""", re.M)
TAGS = re.compile(rb"""^["']?tag["']?[ ]*:[ ]*\r?\n((?:[ ]*-[ ]*\S+[ ]*\r?\n)+)""", re.M)
MEMBERS = re.compile(rb"""^[ ]*-[ ]*(?:task:[ ]*)?["']?([\w.+-]+)["']?[ ]*\r?$""", re.M)
GROUP = re.compile(rb"""^["']?group["']?[ ]*:""", re.M)
SUFFIX = "yaml"
"""Ends the name of a task file, and of a template that others include (`_default_template_yaml`)."""


def root() -> Path:
    """The folder with lm-eval's own task files."""
    import lm_eval.tasks

    assert lm_eval.tasks.__file__
    return Path(lm_eval.tasks.__file__).parent


def folders_of(names: Sequence[str], own: Sequence[str] = ()) -> list[str]:
    """Folders to load for these names, in order: those of lm-eval, or its root where a tag has tasks in several of
    them, then one's `own`, whose tasks take precedence."""
    found: list[Path] = []
    known: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        files = [] if name in known else _files_of(name)
        folders = sorted({root() / path.relative_to(root()).parts[0] for path in files})
        if len(folders) > 1 and not any(GROUP.search(_texts()[path]) for path in files):
            return [str(root()), *own]
        for folder in folders:
            if folder not in found:
                found.append(folder)
                known.update(_names_in(folder))
        known.add(name)
        queue += [member for path in files for member in _members(_texts()[path]) if member not in known]
    return [*map(str, sorted(found)), *own]


def known_names() -> list[str]:
    """All names in lm-eval's task files, to suggest one for a misspelt name."""
    return sorted({name for text in _texts().values() for name in _defined(text)})


def is_defined(name: str) -> bool:
    """Whether one of lm-eval's files defines a task, group or tag of this name."""
    return bool(_files_of(name))


@cache
def _texts() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(root().rglob(f"*{SUFFIX}"))}


def _files_of(name: str) -> list[Path]:
    """Files that define a task, a group or a tag of this name."""
    text = name.encode()
    return [path for path, content in _texts().items() if text in content and name in _defined(content)]


def _names_in(folder: Path) -> set[str]:
    return {name for path, text in _texts().items() if path.is_relative_to(folder) for name in _defined(text)}


def _defined(text: bytes) -> set[str]:
    tags = [name for block in TAGS.findall(text) for name in MEMBERS.findall(block)]
    return {name.decode() for name in (*DEFINES.findall(text), *tags)}


def _members(text: bytes) -> list[str]:
    """What a group lists; lists in files without a group are of examples, stop strings and the like."""
    return [name.decode() for name in MEMBERS.findall(text)] if GROUP.search(text) else []
