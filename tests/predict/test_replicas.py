"""Several engines share the prompts and give the answers of one; one that dies is said in a line and loses nothing."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from predict_runs import files_of, finish, make_run, processes_below, row, start, tiny_model, write_rows

from sciriff.config import EngineConfig
from sciriff.models.loading import load_model
from sciriff.predict.replicas import gpu_groups
from sciriff.run import machine
from sciriff.run.machine import Gpu

ONE = EngineConfig(name="transformers", batch_tokens=400)
TWO = EngineConfig(name="transformers", batch_tokens=400, replicas=2)


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    rows = [row(f"scierc_ner:v:{i}", f"Find the names.\n\n{'word ' * (i % 23)}{i}\n\nWhich?") for i in range(40)]
    return write_rows(tmp_path / "instances.jsonl", rows)


def test_each_replica_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "gpus", lambda: [Gpu("H100", 80)] * 4)
    assert gpu_groups(4, ways=1) == ["0", "1", "2", "3"]
    assert gpu_groups(2, ways=2) == ["0,1", "2,3"]
    assert gpu_groups(2, ways=1) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6,7")
    assert gpu_groups(2, ways=2) == ["3,5", "6,7"]
    monkeypatch.setattr(machine, "gpus", list)
    assert gpu_groups(2, ways=1) == [None, None]


@pytest.mark.slow
def test_a_replica_that_dies_is_said_and_the_next_start_ends_in_the_same_bytes(tmp_path: Path, instances: Path) -> None:
    alone = make_run(tmp_path / "alone", path=str(instances), engine=ONE)
    finish(alone)
    run = make_run(tmp_path / "run", path=str(instances), engine=TWO)
    process = start(run)
    deadline = time.monotonic() + 300
    while not list(run.predictions.glob("*.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    names = {pid: command for pid in processes_below(process.pid) if "spawn_main" in (command := command_of(pid))}
    assert len(names) == 2
    os.kill(min(names), signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "\nerror: replica " in output
    assert "of 2 of the engine died (killed by SIGKILL); the answers so far are kept" in output
    assert "Traceback" not in output
    assert not any(Path(f"/proc/{pid}").exists() for pid in names), "the other one ended with the stage"
    output = finish(run)
    assert "answers are here already" in output
    assert files_of(run) == files_of(alone)


@pytest.mark.slow
def test_what_stops_a_replica_is_said_as_by_one_engine(tmp_path: Path, instances: Path) -> None:
    diverged = load_model(tiny_model(), seed=1, dtype=torch.float32)
    diverged.get_input_embeddings().weight.data.fill_(float("nan"))
    diverged.save_pretrained(tmp_path / "model")
    model = replace(tiny_model(), path=str(tmp_path / "model"))
    process = start(make_run(tmp_path / "run", path=str(instances), engine=TWO, model=model))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "\nerror: the model computes NaN" in output


def command_of(pid: int) -> str:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text() if path.exists() else ""
