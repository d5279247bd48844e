"""The command that a person typed, as it is typed again."""

import shlex
import shutil
import sys
from pathlib import Path


def this_command() -> str:
    """The command that was typed, for people who must type it again."""
    return shlex.join([_python(), "-m", "sciriff.train", *sys.argv[1:]])


def _python() -> str:
    """What starts this interpreter in the shell that this command was typed in."""
    here, found = Path(sys.executable), shutil.which("python")
    # Python in an environment is but a link, so that its folder too must be the same.
    if found and Path(found).resolve() == here.resolve() and Path(found).parent.resolve() == here.parent.resolve():
        return "python"
    return str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)
