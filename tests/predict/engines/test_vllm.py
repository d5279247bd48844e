"""The same model answers the same under vLLM and transformers. Needs an interpreter with vLLM: SCIRIFF_VLLM_PYTHON."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from predict_runs import ROOT, files_of, finish, make_run, row, save_lively_model, tiny_model, write_rows

from sciriff.config import SAMPLE, EngineConfig, ModelConfig
from sciriff.predict.engines.vllm import plan_batches
from sciriff.run_dir import RunDir

VLLM_PYTHON = os.environ.get("SCIRIFF_VLLM_PYTHON", "")
needs_vllm = pytest.mark.skipif(not VLLM_PYTHON, reason="SCIRIFF_VLLM_PYTHON names no interpreter with vLLM")


@pytest.fixture
def model(tmp_path: Path) -> ModelConfig:
    save_lively_model(tmp_path / "model")
    return ModelConfig(
        name="tiny",
        path=str(tmp_path / "model"),
        tokenizer=str(SAMPLE / "tokenizer"),
        chat="tulu",
        dtype="float32",
        shape=tiny_model().shape,
    )


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    return write_rows(
        tmp_path / "instances.jsonl",
        [row(f"scierc_ner:v:{i}", "Find the names.\n\n" + f"word{i} " * (i % 40 + 1)) for i in range(80)],
    )


def start_vllm(run: RunDir) -> "subprocess.Popen[bytes]":
    """The stage under the other interpreter. It writes to a file: a pipe would stay open as long as a child lives."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1"}
    with (run.root / "log").open("wb") as log:
        return subprocess.Popen(
            [VLLM_PYTHON, "-m", "sciriff.predict", str(run.root)], env=environment, stdout=log, stderr=log
        )


def finish_vllm(run: RunDir) -> str:
    status = start_vllm(run).wait(timeout=500)
    output = (run.root / "log").read_text()
    assert status == 0, output
    return output


def test_every_prompt_is_a_batch_of_its_own() -> None:
    assert plan_batches([5, 3, 9], 10, EngineConfig(name="vllm")) == [[0], [1], [2]]


@needs_vllm
@pytest.mark.vllm
def test_vllm_answers_as_transformers_does(tmp_path: Path, model: ModelConfig, instances: Path) -> None:
    plain = make_run(tmp_path / "transformers", path=str(instances), model=model)
    finish(plain)
    run = make_run(tmp_path / "vllm", path=str(instances), model=model, engine=EngineConfig(name="vllm"))
    finish_vllm(run)
    ours, theirs = (files_of(r)["scierc_ner.jsonl"].splitlines() for r in (plain, run))
    assert len(set(ours)) == 80
    assert {json.loads(line)["finish_reason"] for line in ours} == {"stop", "length"}
    assert ours == theirs
    # Nothing is left to do the second time, half of it after a loss.
    assert "80 answers are here already" in finish_vllm(run)
    path = run.predictions / "scierc_ner.jsonl"
    path.write_bytes(b"\n".join(theirs[:40]) + b"\n" + theirs[40][:30])
    assert "40 answers are here already" in finish_vllm(run)
    assert path.read_bytes().splitlines() == theirs


@needs_vllm
@pytest.mark.vllm
def test_a_killed_stage_leaves_no_process_behind(tmp_path: Path, model: ModelConfig, instances: Path) -> None:
    run = make_run(
        tmp_path / "run", path=str(instances), model=model, engine=EngineConfig(name="vllm"), max_new_tokens=150
    )
    process = start_vllm(run)
    deadline = time.monotonic() + 400
    while not list(run.predictions.glob("*.jsonl")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    children = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


def children_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children_of(int(child))]
    return found
