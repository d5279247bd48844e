"""The same model answers the same under vLLM and transformers. Needs an interpreter with vLLM: SCIRIFF_VLLM_PYTHON."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from predict_runs import (
    ROOT,
    files_of,
    finish,
    make_run,
    processes_below,
    row,
    save_lively_model,
    tiny_model,
    write_rows,
)

from sciriff import machine
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


def test_every_prompt_is_a_batch_of_its_own_beside_those_that_begin_alike() -> None:
    prompts = [[5, 1, 1], [3, 9], [5, 1], [3, 8, 8], [5, 1, 0]]
    assert plan_batches(prompts, [10] * 5, EngineConfig(name="vllm")) == [[3], [1], [2], [4], [0]]


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
    # Nothing is left to do the second time; half of it after a loss, by two engines together.
    assert "80 answers are here already" in finish_vllm(run)
    path = run.predictions / "scierc_ner.jsonl"
    path.write_bytes(b"\n".join(theirs[:40]) + b"\n" + theirs[40][:30])
    two = make_run(tmp_path / "vllm", path=str(instances), model=model, engine=EngineConfig(name="vllm", replicas=2))
    assert "40 answers are here already" in finish_vllm(two)
    assert path.read_bytes().splitlines() == theirs


@needs_vllm
@pytest.mark.vllm
@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (EngineConfig(name="vllm", batch_invariant=True), r"error: engine\.batch_invariant=true needs an NVIDIA GPU"),
        (
            EngineConfig(name="vllm", extra={"load_format": "no_such_format"}),
            r"error: vLLM does not start \(\w+: .*no_such_format",
        ),
    ],
)
def test_what_vllm_cannot_do_is_said_in_a_line(
    tmp_path: Path, model: ModelConfig, instances: Path, engine: EngineConfig, message: str
) -> None:
    run = make_run(tmp_path / "run", path=str(instances), model=model, engine=engine)
    assert start_vllm(run).wait(timeout=300) == 2
    assert re.search(message, (run.root / "log").read_text(), re.MULTILINE)


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
    children = processes_below(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


@pytest.mark.gpu
@pytest.mark.vllm
@pytest.mark.skipif(not VLLM_PYTHON or not machine.gpus(), reason="needs a GPU and an interpreter with vLLM")
def test_batch_invariant_answers_are_the_same_however_they_are_asked(
    tmp_path: Path, model: ModelConfig, instances: Path
) -> None:
    engine = EngineConfig(name="vllm", batch_invariant=True, replicas=1)
    together = make_run(tmp_path / "together", path=str(instances), model=model, engine=engine)
    finish_vllm(together)
    first = make_run(tmp_path / "parts", path=str(instances), model=model, engine=engine, limit=7)
    finish_vllm(first)
    rest = make_run(tmp_path / "parts", path=str(instances), model=model, engine=engine)
    assert "7 answers are here already" in finish_vllm(rest)
    assert files_of(rest)["scierc_ner.jsonl"] == files_of(together)["scierc_ner.jsonl"]


@pytest.mark.gpu
@pytest.mark.vllm
@pytest.mark.skipif(not VLLM_PYTHON or len(machine.gpus()) < 2, reason="needs two GPUs and an interpreter with vLLM")
def test_every_gpu_has_an_engine(tmp_path: Path, model: ModelConfig, instances: Path) -> None:
    run = make_run(tmp_path / "run", path=str(instances), model=model, engine=EngineConfig(name="vllm"))
    output = finish_vllm(run)
    assert "[80/80] answers" in output
    made_with = json.loads(run.answered_with.read_text())["made with"]
    assert len(made_with[0]["devices"]) == len(machine.gpus())
