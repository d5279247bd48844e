"""The README's tree names every module and every folder of conf/."""

from pathlib import Path

import pytest

from sciriff.config import conf_dir

PROJECT = Path(__file__).parents[1]
TREE = (PROJECT / "README.md").read_text().partition("## What is where")[2]
MODULES = sorted(
    f"{path.name}/" if path.is_dir() else path.name
    for path in (PROJECT / "sciriff").iterdir()
    if path.name != "__pycache__" and not path.name.startswith("__") and path.name != "conf"
)


@pytest.mark.parametrize("name", [*MODULES, *(f"{path.name}/" for path in conf_dir().iterdir() if path.is_dir())])
def test_tree_names(name: str):
    assert f"{name} " in TREE, f"{name} has no line in the README's tree"
