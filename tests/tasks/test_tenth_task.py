"""Follow docs/adding_a_task.md literally in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sciriff.data.records import Prediction
from sciriff.run.json_lines import write_jsonl

ROOT = Path(__file__).parents[2]
FILES = ("tests/tasks/test_tasks.py", "tests/test_score.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the document is not here"),
]


def block(language: str) -> str:
    """The document's only code block in this language."""
    text = (ROOT / "docs" / "adding_a_task.md").read_text(encoding="utf-8")
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project with the document's task: one file, one name in a tuple, one case."""
    root = tmp_path / "project"
    for name in ("sciriff", "conf", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "sciriff" / "tasks" / "my_task.py").write_text(block("python"))
    (root / "tests" / "tasks" / "cases" / "my_task.json").write_text(block("json"))
    names = root / "sciriff" / "tasks" / "__init__.py"
    names.write_text(
        "from sciriff.tasks.my_task import MY_TASK\n"
        + names.read_text().replace("    SCIFACT,\n", "    SCIFACT,\n    MY_TASK,\n")
    )
    return root


def in_copy(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root), "SCIRIFF_CACHE": str(root / "cache")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_the_documented_steps_add_a_task(copy: Path):
    tested = in_copy(copy, "pytest", "-q", "-p", "no:cacheprovider", "-rA", *FILES)
    assert tested.returncode == 0, tested.stdout[-3000:]
    assert "test_cases[my_task-one of two]" in tested.stdout
    assert "test_hostile_answers_are_scored[one character-my_task]" in tested.stdout
    rows = [Prediction("my_task", f"my_task:x:{n}", "Which methods?", '["BERT"]', '["BERT"]') for n in range(3)]
    write_jsonl(copy / "answers" / "my_task.jsonl", rows)
    command = ("train=none", "log=none", "predictions=answers", "run_dir=out", "stages=[score,report]")
    made = in_copy(copy, "sciriff.train", *command)
    assert made.returncode == 0, made.stderr
    assert "my_task/f1" in made.stdout
    assert "mean of 1 of 12" in made.stdout
    assert "my_task" in (copy / "out" / "report.html").read_text().replace("<wbr>", "")
