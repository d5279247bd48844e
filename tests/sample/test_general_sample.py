"""The general tasks of the sample: lm-eval reads them without a hub, and they are what general=sample asks for."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sciriff.config import SAMPLE, Config
from sciriff.run.json_lines import read_json_objects

DATA = SAMPLE / "general" / "sciriff" / "general_sample"
FILES = sorted(DATA.rglob("*.jsonl"))
LOAD = """
import json, sys
from lm_eval.tasks import TaskManager
tasks = TaskManager(include_path=sys.argv[1], include_defaults=False).load(json.loads(sys.argv[2]))["tasks"]
for name, task in tasks.items():
    task.set_fewshot_seed(1)
    docs = list(task.eval_docs)
    shots = task.config.num_fewshot
    one = {"prompt": task.fewshot_context(docs[0], shots), "targets": [task.doc_to_target(doc) for doc in docs]}
    print("TASK", json.dumps({"name": name, "metrics": list(task.aggregation()), **one}))
"""


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_json_objects(path)]


@pytest.fixture
def asked(composed: Callable[..., Config]) -> Config:
    return composed("experiment=demo", "general=sample")


def test_lm_eval_reads_the_tasks_without_a_hub(asked: Config, tmp_path: Path) -> None:
    general = asked.general
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_CACHE": str(tmp_path / "datasets")}
    command = [sys.executable, "-c", LOAD, *general.include, json.dumps(general.tasks)]
    done = subprocess.run(command, cwd=general.data, env={**os.environ, **offline}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("TASK ") for line in done.stdout.splitlines() if line.startswith("TASK ")]
    found = {one["name"]: one for one in map(json.loads, lines)}
    assert list(found) == general.tasks
    assert all(general.metrics[name] in one["metrics"] for name, one in found.items())

    letters = found["sample_common_sense"]
    assert Counter(letters["targets"]) == {0: 8, 1: 8, 2: 8, 3: 8}, "one letter alone is right by chance only"
    assert letters["prompt"].count("\nD. ") == 4 and letters["prompt"].endswith("Answer:")
    sums = found["sample_arithmetic"]
    assert sums["prompt"].count(" = ") == 3 and all(target.isdecimal() for target in sums["targets"])
    assert '["red bricks", "Dolvex"]' in found["sample_instructions"]["targets"], "a list stays text"


def test_no_item_is_there_twice_or_was_trained_on() -> None:
    assert len(FILES) == 5
    asked = [row.get("question") or row["instruction"] for path in FILES for row in rows(path)]
    assert len(asked) == len(set(asked)) == 32 + 5 + 24 + 3 + 24
    trained = {message["content"] for row in rows(SAMPLE / "tulu.jsonl") for message in row["messages"]}
    assert not trained & set(asked)


def test_the_sums_are_right() -> None:
    for name in ("dev", "test"):
        for row in rows(DATA / "arithmetic" / f"{name}.jsonl"):
            left, _, right = row["solution"].rstrip(".").partition(" = ")
            assert sum(map(int, left.split(" + "))) == int(right) == int(row["answer"])


def test_choices_differ() -> None:
    for name in ("dev", "test"):
        for row in rows(DATA / "common_sense" / f"{name}.jsonl"):
            assert len(set(row["choices"])) == 4 and row["answer"] in range(4)
