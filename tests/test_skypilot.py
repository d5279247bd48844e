"""The SkyPilot task file: what it runs on each node, without a cloud."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILE = ROOT / "launch/skypilot.yaml"
FIRST_OF_ONE = {"SKYPILOT_NUM_NODES": "1", "SKYPILOT_NODE_RANK": "0", "SKYPILOT_NODE_IPS": "10.0.0.1"}
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def task() -> dict:
    return yaml.safe_load(FILE.read_text())


def test_it_is_a_task_of_skypilot(task: dict):
    schemas = pytest.importorskip("sky.utils.schemas", reason="skypilot is not installed")
    from sky.utils import common_utils

    common_utils.validate_schema(task, schemas.get_task_schema(), f"{FILE}: ")


def test_no_key_of_anything_can_be_in_it(task: dict):
    assert "secrets" not in task and list(task["envs"]) == ["OVERRIDES"]


@pytest.mark.parametrize("part", ["setup", "run"])
def test_its_scripts_are_bash(task: dict, part: str):
    subprocess.run(["bash", "-n"], input=task[part], text=True, check=True)


def test_a_node_runs_the_ordinary_command_with_all_overrides(task: dict):
    environment = {
        **os.environ,
        **FIRST_OF_ONE,
        "PATH": PATH,
        "OVERRIDES": "experiment=demo 'log.tags=[a, b]' dry_run=true",
    }
    result = subprocess.run(["bash", "-c", task["run"]], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("run       demo")


def test_a_node_that_is_none_of_them_is_refused(task: dict):
    environment = {**os.environ, **FIRST_OF_ONE, "PATH": PATH, "SKYPILOT_NODE_RANK": "3", "OVERRIDES": "dry_run=true"}
    result = subprocess.run(["bash", "-c", task["run"]], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: NODE_RANK=3 with NODES=1: the nodes are numbered from 0 to 0\n"
