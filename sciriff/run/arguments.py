"""Command lines: a parser whose complaints may repeat what was typed, and what Hydra's must not repeat."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from sciriff.run.messages import say
from sciriff.run.nearest import nearest, resembling
from sciriff.run.user_error import UserError
from sciriff.run.visible import UNSHOWN, shortened, visible_line

WRONG_USAGE = 2
SHOWN = 80
"""Characters of a refused argument that are shown."""
ALIKE = 0.65
"""How like an option a word must be: two dashes in common are not enough."""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, with errors that steer no terminal and name what may have been meant."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            words = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            close = next(filter(None, (resembling(word, options, ALIKE) for word in words)), "")
            self.error(f"unrecognized arguments: {' '.join(unknown)}{close}")
        return found

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            given = shortened(str(value), SHOWN)
            raise argparse.ArgumentError(action, f"{given!r} is unknown{nearest(given, map(str, action.choices))}")

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
