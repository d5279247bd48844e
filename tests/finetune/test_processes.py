"""The training stage in processes of its own, started by the driver's command: killed, in pairs, under DeepSpeed."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finetune_runs import (
    finish,
    losses,
    made_up_rows,
    rows_of,
    start,
    steps_of,
    tiny_model,
    train,
    validations,
    weights,
    without_timings,
)

from sciriff import config as configuration
from sciriff.config import to_yaml
from sciriff.data.token_file import write_token_file
from sciriff.finetune import launch_files
from sciriff.run.run_dir import RunDir

Make = Callable[..., RunDir]

DEEPSPEED_TIMEOUT = 300
"""Seconds. Its first start on a machine compiles a communication operator for up to 100."""


@pytest.fixture
def needs_deepspeed() -> None:
    pytest.importorskip("deepspeed")
    if shutil.which("g++") is None:
        pytest.skip("DeepSpeed compiles its CPU operator with g++")


def reconfigure(run: RunDir, **values: Any) -> None:
    """Change keys of `train` in config.yaml."""
    config = configuration.load(run.config)
    run.config.write_text(to_yaml(replace(config, train=replace(config.train, **values))))


def wait_for_step(run: RunDir, step: int, process: "subprocess.Popen[str]", timeout: float) -> None:
    give_up_at = time.monotonic() + timeout
    while not run.metrics.exists() or run.metrics.read_bytes().count(b"\n") < step:
        assert process.poll() is None, finish(process, 10)
        assert time.monotonic() < give_up_at, f"no step {step} after {timeout} s"
        time.sleep(0.01)


def ranks_of(run: RunDir) -> list[int]:
    """Return the processes of the stage: those with the run folder on their command line."""
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


@pytest.mark.slow
def test_a_killed_run_resumes_as_if_undisturbed_bit_for_bit(make: Make) -> None:
    settings = {"max_steps": 150, "checkpoint_every": 20, "eval_every": 30, "keep": "best", "validation": 8}
    whole, killed = (make(name, **settings) for name in ("whole", "killed"))
    train(whole)
    process = start(killed)
    try:
        wait_for_step(killed, 50, process, timeout=120)
        kill_launcher(killed, process)
    finally:
        finish(process, 10)
    assert not killed.model.exists()
    assert "resuming from" in train(killed)
    assert without_timings(killed) == without_timings(whole)
    assert weights(killed) == weights(whole)


@pytest.mark.slow
def test_two_processes_do_what_one_does(make: Make) -> None:
    one, two = (make(name, num_processes=n, validation=8, eval_every=5) for name, n in (("one", 1), ("two", 2)))
    train(one)
    output = train(two)
    assert "2 cpu processes" in output
    assert output.count("10 steps of 6 of 40 rows") == 1
    assert min(row["balance"] for row in steps_of(two)) < 1
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert [r["grad_norm"] for r in steps_of(two)] == pytest.approx([r["grad_norm"] for r in steps_of(one)], rel=1e-4)
    assert [row["lr"] for row in steps_of(two)] == [row["lr"] for row in steps_of(one)]
    assert [step for step, _, _ in validations(one)] == [0, 5, 10]
    for measured, reference in zip(validations(two), validations(one), strict=True):
        assert measured == pytest.approx(reference, abs=1e-5)


@pytest.mark.usefixtures("needs_deepspeed")
@pytest.mark.parametrize("stage", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_zero_in_two_processes_does_what_one_process_does(make: Make, stage: int) -> None:
    """The losses of 20 steps depend neither on packing nor on the number of processes, nor on DeepSpeed's sizes, which
    are those for a GPU here: under ZeRO-3 all weights resident and whole layers fetched."""
    long_rows = [row for row in made_up_rows(200) if len(row[1]) > 30]  # no two of them fit into 60 tokens
    different = {
        "alone": {"micro_batch_tokens": 60},
        "one": {},
        "two": {"num_processes": 2, "zero_stage": stage, "activation_checkpointing": 1},
    }
    settings = {"max_steps": 20, "max_length": 60, "eval_every": 8, "validation": 12}
    runs = [make(name, **settings, **values) for name, values in different.items()]
    for run in runs:
        write_token_file(run.tokens, long_rows)
    alone, one, two = runs
    train(alone)
    train(one)
    output = train(two, timeout=DEEPSPEED_TIMEOUT, gpu_memory=80)
    zero = json.loads(two.deepspeed.read_text())["zero_optimization"]
    assert stage == 2 or zero["memory_efficient_linear"] is False, "the sizes for a GPU were used"
    assert "2 cpu processes" in output
    assert f"DeepSpeed ZeRO-{stage}" in output
    assert "1 of 2 layers' activations computed again" in output
    assert len(losses(alone)) == 20
    assert [step for step, _, _ in validations(alone)] == [0, 8, 16, 20]
    for other in (one, two):
        assert losses(other) == pytest.approx(losses(alone), abs=1e-5)
        for measured, reference in zip(validations(other), validations(alone), strict=True):
            assert measured == pytest.approx(reference, abs=1e-5)
    norms = [[row["grad_norm"] for row in steps_of(run)] for run in (one, two)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)

    import torch
    from transformers import AutoModelForCausalLM

    trained, reference = (AutoModelForCausalLM.from_pretrained(run.model).state_dict() for run in (two, one))
    for name, tensor in reference.items():
        assert torch.allclose(trained[name], tensor, atol=1e-4), name


@pytest.mark.slow
@pytest.mark.usefixtures("needs_deepspeed")
@pytest.mark.parametrize(("stage", "precision"), [(3, "bf16_pure"), (2, "bf16")])
def test_the_size_of_the_moments_that_deepspeed_makes_in_the_first_step_is_known(
    make: Make, stage: int, precision: str
) -> None:
    """`activation_checkpointing=auto` leaves room for them."""
    run = make("run", zero_stage=stage, precision=precision)
    command, environment = launch_files.write(configuration.load(run.config), run, gpus=0)
    module = command.index("--module")
    command[module:] = [str(Path(__file__).with_name("moments_to_come.py")), str(run.root)]
    output = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=DEEPSPEED_TIMEOUT
    )
    assert output.returncode == 0, output.stderr
    [line] = re.findall(r"RESULT (.*)", output.stdout)
    states, to_come, came = json.loads(line)
    assert states == 0 and to_come == came > 0


@pytest.mark.slow
@pytest.mark.usefixtures("needs_deepspeed")
def test_zero_3_resumes_after_a_kill_from_a_folder_that_it_reads_in_shares(make: Make) -> None:
    start_from = make("start")
    train(start_from)
    model = tiny_model(path=str(start_from.model), tokenizer=None)
    settings = {"num_processes": 2, "zero_stage": 3, "max_steps": 30, "checkpoint_every": 5, "model": model}
    settings |= {"eval_every": 4, "keep": "best", "validation": 8, "learning_rate": 3e-2}
    whole, killed = make("whole", **settings), make("killed", **settings)
    train(whole, timeout=DEEPSPEED_TIMEOUT)
    process = start(killed)
    try:
        wait_for_step(killed, 12, process, timeout=DEEPSPEED_TIMEOUT)
        kill_launcher(killed, process)
    finally:
        finish(process, 10)
    output = train(killed, timeout=DEEPSPEED_TIMEOUT)
    assert "resuming from" in output
    best = min((science, step) for step, science, _ in validations(whole) if step)[1]
    assert f", after step {best}" in output
    assert best < 30
    assert without_timings(killed) == without_timings(whole)
    assert weights(killed) == weights(whole)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_deepspeed")
@pytest.mark.parametrize(("stage", "processes"), [(3, (2, 1)), (2, (1, 2)), (0, (1, 2))])
def test_it_resumes_in_another_number_of_processes(make: Make, stage: int, processes: tuple[int, int]) -> None:
    """With the optimizer states too: without them the next losses would differ by 1e-2."""
    whole, moved = make("whole"), make(num_processes=processes[0], zero_stage=stage, weight_decay=0.01)
    train(whole)
    moved.stop_request.touch()
    assert "stopped as asked after step 1" in train(moved, timeout=DEEPSPEED_TIMEOUT)
    moved.stop_request.unlink()
    reconfigure(moved, num_processes=processes[1])
    output = train(moved, timeout=DEEPSPEED_TIMEOUT)
    assert f"resuming from {moved.checkpoints / 'step-1'}" in output
    assert [row["step"] for row in rows_of(moved)] == list(range(1, 11))
    assert losses(moved) == pytest.approx(losses(whole), abs=1e-5)


def test_a_mistake_is_one_line_and_a_bad_status(make: Make) -> None:
    run = make(max_length=3)
    output = train(run, fails=True)
    assert [line for line in output.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in output
