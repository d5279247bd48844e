"""docs/recreating.md: its table and its keys are those of the code."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from sciriff.config import RecreateConfig
from sciriff.recreate.sources import sources
from tools.task_table import table

PAGE = Path(__file__).parents[2] / "docs" / "recreating.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the document is not here")


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_table_of_tasks_is_that_of_the_code():
    assert table().count("\n") == 2 + len(sources()) == 56
    assert table() in page(), "run python -m tools.task_table"


def test_every_key_has_a_line_with_its_default():
    part = page().partition("\n## Keys\n")[2].partition("\n## ")[0]
    lines = dict(re.findall(r"^\| `recreate\.(\w+)` \| ([^|]*?) \|", part, re.MULTILINE))
    assert list(lines) == [field.name for field in fields(RecreateConfig)]
    for field in fields(RecreateConfig):
        default = field.default
        said = lines[field.name].lower()
        assert default is None or said == str(default).lower(), field.name


def test_every_way_in_which_something_is_lost_is_explained():
    part = page().partition("## What is exact")[2].partition("\n## ")[0]
    for lost in {word for task in sources().values() for word in task.lost}:
        assert f"\n| {lost} |" in part
