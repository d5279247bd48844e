"""Command lines: a parser whose complaints may repeat what was typed, and what Hydra's must not repeat."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from sciriff.run.messages import say
from sciriff.run.user_error import UserError
from sciriff.run.visible import UNSHOWN, visible_line

WRONG_USAGE = 2
SHOWN = 80
"""Characters of a refused argument that are shown."""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, with errors that steer no terminal."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        say(f"{self.prog}: error: {message}")
        sys.exit(WRONG_USAGE)


def refuse_control_characters(typed: Sequence[str]) -> None:
    """UserError for an argument with characters that steer a terminal; Hydra's parser prints what it does not know."""
    for number, argument in enumerate(typed, 1):
        if UNSHOWN.search(argument):
            raise UserError(
                f"argument {number} has a control character or half a character, and nothing here is named so: "
                f"{visible_line(argument[:SHOWN])}"
            )
