"""The README's tree names every module and every folder of conf/, and what the documents propose for 70B fits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sciriff.config import conf_dir
from sciriff.driver import plan, preflight

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


def test_large_models_fit_the_nodes_that_the_documents_propose(composed):
    files = [PROJECT / "README.md", *PROJECT.glob("docs/*.md"), *PROJECT.glob("launch/*")]
    proposed = {typed for path in files for typed in re.findall(r"model=\S+_70b\b[^`\n]*", path.read_text())}
    assert proposed
    for typed in proposed:
        words = [word for word in typed.split() if "=" in word and not word.startswith("plan.")]
        config = composed(*words, "plan.gpu=h100", "plan.gpus=8", "plan.nodes=4")
        assert not list(preflight.too_large(plan.make(config))), typed


def test_every_path_that_answers_where_something_is_exists():
    text = (PROJECT / "docs" / "where.md").read_text()
    answers = [row.split("|")[2] for row in text.splitlines() if row.startswith("| ")][1:]
    paths = [re.findall(r"`([\w./]+)`", answer) for answer in answers]
    assert len(paths) >= 22 and all(paths)
    assert not [path for found in paths for path in found if not (PROJECT / path).exists()]


def test_the_walk_through_the_code_has_ten_files_that_exist():
    walk = (PROJECT / "docs/design.md").read_text().partition("## A walk")[2].partition("\n## ")[0]
    links = re.findall(r"^\d+\. \[.+\]\(\.\./(\S+)\)", walk, re.MULTILINE)
    assert len(links) == 10 and links[0] == "sciriff/train.py" and links[-1].startswith("sciriff/report/")
    assert not [link for link in links if not (PROJECT / link).is_file()]


def test_the_table_of_models_is_that_of_conf():
    """`python docs/models_table.py` prints it."""
    table = subprocess.run(
        [sys.executable, PROJECT / "docs/models_table.py"], capture_output=True, text=True, check=True
    ).stdout
    assert table.count("\n") > 20
    assert table in (PROJECT / "README.md").read_text()
