"""Each line of docs/security.md has a test that is marked with its number, and no test shows a line that is gone."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^\| ([A-Z]\d+) \|", re.MULTILINE)


def shown_lines() -> set[str]:
    """Numbers in `@pytest.mark.shows("R1", ...)` on the tests of this project."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if "mark.shows" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            for mark in getattr(node, "decorator_list", []):
                if ast.unparse(mark).startswith("pytest.mark.shows("):
                    found |= {argument.value for argument in mark.args}
    return found


def test_every_line_of_the_page_has_a_test() -> None:
    lines = LINE.findall((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))
    assert len(lines) == len(set(lines)) > 20
    assert shown_lines() == set(lines)


def test_every_guarded_key_is_on_the_page() -> None:
    from sciriff.config.trust import GUARDED

    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for key in GUARDED:
        section, _, name = key.rpartition(".")
        assert f"`{key}`" in page or (section == "judge" and f"`engine.{name}`" in page), key
