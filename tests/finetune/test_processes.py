"""The training stage in processes of its own, started by the driver's command: killed, in pairs, under DeepSpeed."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from finetune_runs import Compose, finish, losses, made_up_rows, make_run, rows_of, start, tiny_model, train

from sciriff.run_dir import RunDir
from sciriff.token_file import write_token_file

Make = Callable[..., RunDir]

DEEPSPEED_TIMEOUT = 300
"""Seconds. Its first start on a machine compiles a communication operator for up to 100."""


@pytest.fixture
def make(composed: Compose, tmp_path: Path) -> Make:
    return lambda name="run", **values: make_run(composed, tmp_path / name, **values)


@pytest.fixture
def needs_deepspeed() -> None:
    pytest.importorskip("deepspeed")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed compiles its CPU operator with g++")


def weights(run: RunDir) -> bytes:
    return (run.model / "model.safetensors").read_bytes()


def wait_for_step(run: RunDir, step: int, process: "subprocess.Popen[str]", timeout: float) -> None:
    give_up_at = time.monotonic() + timeout
    while not run.metrics.exists() or run.metrics.read_bytes().count(b"\n") < step:
        assert process.poll() is None, finish(process, 10)
        assert time.monotonic() < give_up_at, f"no step {step} after {timeout} s"
        time.sleep(0.01)


def ranks_of(run: RunDir) -> list[int]:
    """Processes of the stage: those with the run folder on their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(run.root).encode() in command:
                found.append(int(folder.name))
    return found


def kill_launcher(run: RunDir, process: "subprocess.Popen[str]") -> None:
    """SIGKILL the launcher alone: the ranks, which are in sessions of their own, must die by themselves."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    give_up_at = time.monotonic() + 10
    while ranks_of(run):
        assert time.monotonic() < give_up_at, f"still running: {ranks_of(run)}"
        time.sleep(0.05)


def test_a_killed_run_goes_on_as_if_undisturbed_bit_for_bit(make: Make) -> None:
    whole, killed = (make(name, max_steps=150, checkpoint_every=20) for name in ("whole", "killed"))
    train(whole)
    process = start(killed)
    try:
        wait_for_step(killed, 50, process, timeout=120)
        kill_launcher(killed, process)
    finally:
        finish(process, 10)
    assert not killed.model.exists()
    assert "going on from" in train(killed)
    assert losses(killed) == losses(whole)
    assert weights(killed) == weights(whole)


def test_two_processes_do_what_one_does(make: Make) -> None:
    one, two = make("one"), make("two", num_processes=2)
    train(one)
    output = train(two)
    assert "2 cpu processes" in output
    assert output.count("10 steps of 6 of 40 rows") == 1
    assert min(row["balance"] for row in rows_of(two)) < 1
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert [row["grad_norm"] for row in rows_of(two)] == pytest.approx([r["grad_norm"] for r in rows_of(one)], rel=1e-4)


@pytest.mark.usefixtures("needs_deepspeed")
def test_zero_3_in_two_processes_does_what_one_process_does(make: Make) -> None:
    """The curve of 20 steps depends neither on packing nor on the number of processes, nor on DeepSpeed's sizes, which
    are here those for a GPU: all weights resident, whole layers fetched."""
    long_rows = [row for row in made_up_rows(200) if len(row[1]) > 30]  # of which no two fit into 60 tokens
    different = {
        "alone": {"micro_batch_tokens": 60},
        "one": {},
        "two": {"num_processes": 2, "zero_stage": 3, "activation_checkpointing": 1},
    }
    runs = [make(name, max_steps=20, max_length=60, **values) for name, values in different.items()]
    for run in runs:
        write_token_file(run.tokens, long_rows)
    alone, one, two = runs
    train(alone)
    train(one)
    output = train(two, timeout=DEEPSPEED_TIMEOUT, gpu_memory=80)
    assert json.loads(two.deepspeed.read_text())["zero_optimization"]["memory_efficient_linear"] is False
    assert "2 cpu processes" in output
    assert "DeepSpeed ZeRO-3" in output
    assert "1 of 2 layers' activations computed again" in output
    assert losses(one) == pytest.approx(losses(alone), abs=1e-5)
    assert losses(two) == pytest.approx(losses(alone), abs=1e-5)
    assert [row["grad_norm"] for row in rows_of(two)] == pytest.approx([r["grad_norm"] for r in rows_of(one)], rel=1e-4)

    import torch
    from transformers import AutoModelForCausalLM

    trained, reference = (AutoModelForCausalLM.from_pretrained(run.model).state_dict() for run in (two, one))
    for name, tensor in reference.items():
        assert torch.allclose(trained[name], tensor, atol=1e-4), name


@pytest.mark.slow
@pytest.mark.usefixtures("needs_deepspeed")
def test_zero_3_goes_on_after_a_kill_from_a_folder_that_it_reads_in_shares(make: Make) -> None:
    start_from = make("start")
    train(start_from)
    model = tiny_model(path=str(start_from.model), tokenizer=None)
    settings = {"num_processes": 2, "zero_stage": 3, "max_steps": 30, "checkpoint_every": 5, "model": model}
    whole, killed = make("whole", **settings), make("killed", **settings)
    train(whole, timeout=DEEPSPEED_TIMEOUT)
    process = start(killed)
    try:
        wait_for_step(killed, 12, process, timeout=DEEPSPEED_TIMEOUT)
        kill_launcher(killed, process)
    finally:
        finish(process, 10)
    output = train(killed, timeout=DEEPSPEED_TIMEOUT)
    assert "going on from" in output
    assert [row["step"] for row in rows_of(killed)] == list(range(1, 31))
    assert losses(killed) == pytest.approx(losses(whole), abs=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_deepspeed")
def test_the_parts_of_two_processes_are_refused_by_one(make: Make) -> None:
    run = make(num_processes=2, zero_stage=3)
    run.stop_request.touch()
    assert "stopped as asked after step 1" in train(run, timeout=DEEPSPEED_TIMEOUT)
    run.stop_request.unlink()
    state = json.loads((run.checkpoints / "step-1" / "checkpoint.json").read_text())
    assert state["processes"] == 2
    run.config.write_text(run.config.read_text().replace("num_processes: 2", "num_processes: 1"))
    output = train(run, timeout=DEEPSPEED_TIMEOUT, fails=True)
    assert "error: " in output
    assert "is in 2 parts, one of each process, and there are 1 processes now" in output


def test_a_mistake_is_one_line_and_a_bad_status(make: Make) -> None:
    run = make(max_length=3)
    output = train(run, fails=True)
    assert [line for line in output.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in output
