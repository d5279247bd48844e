"""The console command `sciriff`, and `python -m sciriff`: `sciriff train ...` is `python -m sciriff.train ...`."""

import importlib
import sys

from sciriff import __version__
from sciriff.run.messages import show

COMMANDS = {
    "recreate": "SciRIFF's rows, or rows like them, from raw corpora and templates",
    "train": "mix, train, predict, score and report, as the config says",
    "evaluate": "the same with train=none",
    "compare": "finished runs beside each other, and which differences are within noise",
    "export": "the held-out tasks as task files of lm-eval or inspect_ai, or the answers of runs as one table",
    "ls": "runs with their status, score and age",
}


def main() -> int:
    """Hand the rest of the command line to one of COMMANDS."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name == "--version":
        show(f"sciriff {__version__}")
        return 0
    if name in COMMANDS:
        sys.argv[:2] = [f"sciriff {name}"]
        try:
            module = importlib.import_module(f"sciriff.{name}")
            if hasattr(module, "__path__"):  # a folder, whose command is in a file of its own
                module = importlib.import_module(f"sciriff.{name}.__main__")
            return int(module.main())
        except KeyboardInterrupt:  # before the command had handlers of its own, if it has any
            return 130
    show("usage: sciriff COMMAND ...", "")
    for command, what in COMMANDS.items():
        show(f"  {command:<10} {what}")
    show("", "  sciriff train --help says what can be chosen")
    return 0 if name in ("--help", "-h") else 2


if __name__ == "__main__":
    sys.exit(main())
