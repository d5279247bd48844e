"""The command that a person typed, to be typed again."""

import shlex
import shutil
import sys
from pathlib import Path


def this_command() -> str:
    """The command that was typed, with what starts this interpreter in the shell that it was typed in."""
    here, found = Path(sys.executable), shutil.which("python")
    # Python in an environment is a link, so its folder must be the same, too.
    if found and Path(found).resolve() == here.resolve() and Path(found).parent.resolve() == here.parent.resolve():
        here = Path("python")
    elif here.is_relative_to(Path.cwd()):
        here = here.relative_to(Path.cwd())
    return shlex.join([str(here), "-m", "sciriff.train", *sys.argv[1:]])
