"""The script of an array: what sbatch is told, and what its shell makes of the jobs."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_slurm_config import GIVEN

from sciriff.config.slurm import slurm_config
from sciriff.driver.slurm.array import script, submit
from sciriff.driver.slurm.sweep_jobs import SweepJob


def job(number: int, run_dir: Path, *overrides: str) -> SweepJob:
    return SweepJob(number, overrides, run_dir.name, str(run_dir), None)


def options(text: str) -> list[str]:
    return [shlex.split(line.removeprefix("#SBATCH "))[0] for line in text.splitlines() if line.startswith("#SBATCH")]


def test_sbatch_is_told_what_the_keys_say(tmp_path: Path):
    keys = {"at_once": 2, "account": "my lab", "gpus_per_node": "h100:4", "time": 90, "sbatch": ["--mail-type=END"]}
    place = tmp_path / "sweep-50%_a"
    text = script(slurm_config({**GIVEN, **keys}), place, [job(1, tmp_path / "a"), job(3, tmp_path / "b")])
    told = options(text)
    assert {"--array=1,3%2", "--account=my lab", "--gpus-per-node=h100:4", "--time=90", "--mail-type=END"} <= set(told)
    assert {"--signal=B:USR1@120", "--requeue", "--open-mode=append", "--exclusive", "--nodes=1"} <= set(told)
    assert f"--output={tmp_path}/sweep-50%%_a/slurm/%A_%a.log" in told
    assert not any(option.startswith(("--partition", "--qos", "--cpus-per-task")) for option in told)


def test_a_task_runs_its_own_job_with_its_log_in_the_runs_folder(tmp_path: Path):
    """The shell itself, with a Python that says what it was given in place of the driver's."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([sys.argv[1:], os.environ['SCIRIFF_SWEEP_DIR'], os.environ['SCIRIFF_SWEEP_JOB'],"
        " os.environ['LOADED'], os.getpid()]))\n"
    )
    python.chmod(0o755)
    place = tmp_path / "sweep 'x'"
    run = tmp_path / "runs of $me/b"
    mine = job(7, run, "experiment=demo", "mix.path=a b's.jsonl", "eval.tasks=[a,b]", "plan.gpu=h100", "dry_run=false")
    settings = slurm_config({**GIVEN, "python": str(python), "setup": ["export LOADED=yes"]})
    path = tmp_path / "array.sh"
    path.write_text(script(settings, place, [job(2, tmp_path / "a", "seed=2"), mine], ["--config-dir=/my conf"]))
    log = place / "slurm/41_7.log"
    log.parent.mkdir(parents=True)
    environment = {**os.environ, "SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "7"}
    for _ in range(2):  # as after a requeue
        with log.open("ab") as output:
            process = subprocess.Popen(["bash", str(path)], env=environment, stdout=output, stderr=output)
            assert process.wait(timeout=30) == 0, log.read_text()
    found = run / "logs/slurm-41_7.log"
    assert found.samefile(log) and not found.is_symlink()
    told = [json.loads(line) for line in found.read_text().splitlines()]
    words = ["experiment=demo", "mix.path=a b's.jsonl", "eval.tasks=[a,b]", "hydra.mode=RUN"]
    assert told[0][:4] == [["-m", "sciriff.train", "--config-dir=/my conf", *words], str(place), "7", "yes"]
    assert len(told) == 2 and told[1][4] == process.pid, "the driver is the process that Slurm signals"


def test_the_real_driver_takes_a_tasks_command_line(tmp_path: Path):
    conf = tmp_path / "my conf"
    (conf / "experiment").mkdir(parents=True)
    mine = "# @package _global_\ndefaults: [demo]\ndry_run: true\n"
    (conf / "experiment/mine.yaml").write_text(mine)
    path = tmp_path / "array.sh"
    jobs = [job(4, tmp_path / "a", "experiment=mine", "seed=2")]
    path.write_text(script(slurm_config(GIVEN), tmp_path / "sweep", jobs, [f"--config-dir={conf}"]))
    environment = {**os.environ, "SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "4"}
    command = ["bash", str(path)]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("run       mine-s2 in ")


def test_what_sbatch_refuses_is_told_in_its_own_words(tmp_path: Path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: x' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ValueError, match=re.escape("sbatch refuses the jobs: invalid partition: x (the script: a.sh)")):
        submit(Path("a.sh"))
