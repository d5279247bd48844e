"""The console command hands over to the modules."""

import sys

import pytest

from sciriff import __version__
from sciriff.command_line import main


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--version"], 0, f"sciriff {__version__}"),
        (["--help"], 0, "evaluate"),
        ([], 0, "train"),
        (["compare", "no_such_run"], 2, "no run is found"),
        (["fly"], 2, "usage"),
    ],
)
def test_answers(arguments, status, says, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sciriff", *arguments])
    assert main() == status
    assert says in "".join(capsys.readouterr())
