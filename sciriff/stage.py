"""What every stage does first and last: die with its parent, hold the run, read the config, fail in one line."""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sciriff.config import Config
from sciriff.config.trust import USAGE, frozen, refuse_links
from sciriff.run.locks import hold_as_worker
from sciriff.run.messages import clean_logging, say, say_error, say_traceback
from sciriff.run.parent_death import die_with_parent
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

USER_ERROR = 2
"""Exit status after what a person can fix; 1 is a crash of ours."""


def command(body: Callable[[], int]) -> Callable[[], int]:
    """End a command with one line and USER_ERROR after a user's mistake or a file's trouble; bugs keep tracebacks."""

    @functools.wraps(body)
    def checked() -> int:
        sys.excepthook = say_traceback
        try:
            return body()
        except (UserError, OSError) as error:
            say_error(error)
            return USER_ERROR

    return checked


def run_stage(body: Callable[[Config, RunDir], None], asks: str | None = None) -> None:
    """Run one stage from the command line: `python -m sciriff.STAGE RUN_DIR [--trust] [KEY=VALUE ...]`. `asks` is the
    section of the config whose server it may ask."""
    die_with_parent()
    clean_logging()
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        started = sys.modules["__main__"].__spec__  # of the module that -m names
        sys.exit(f"usage: python -m {started.name.removesuffix('.__main__') if started else __name__} {USAGE}")
    run, arguments = RunDir(Path(sys.argv[1]).resolve()), sys.argv[2:]

    @command
    def stage() -> int:
        config = taken(run, arguments, asks)
        with hold_as_worker(run):
            body(config, run)
        return 0

    sys.exit(stage())


def taken(run: RunDir, arguments: Sequence[str], asks: str | None = None) -> Config:
    """The config of a run folder as far as it is taken (config/trust.py); what is ignored is said. UserError as there,
    and where the folder's links or its server, the one of section `asks`, are not to be followed."""
    found = frozen(run.config, arguments)
    if not found.trusted:
        refuse_links(run, may_lead_out=run.cached)
    if found.notice:
        say(found.notice)
    if asks is not None:
        found.check_server(asks)
    return found.config
