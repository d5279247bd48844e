"""A sweep through hydra/launcher=slurm, two jobs at a time, on a real Slurm with two nodes."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, processes_of, slurm

from sciriff.config import SAMPLE
from sciriff.results import sweep_record
from sciriff.run.run_dir import RunDir

__all__ = ["slurm"]
pytestmark = pytest.mark.slow

MIXES = {"long": 240, "short": 24, "broken": 0, "other": 24}
"""Mix -> rows. One cannot be read at first, one is longer than its job's time."""
ROWS = (SAMPLE / "tulu.jsonl").read_text().splitlines(keepends=True)
SLURM = ("-m", "hydra/launcher=slurm", "hydra.launcher.at_once=2", "hydra.launcher.time=20", "hydra.launcher.signal=20")
FOUR = (
    *("experiment=demo", f"mix.path={','.join(f'{mix}.jsonl' for mix in MIXES)}", "mix.overlap=none"),
    *("train.epochs=1", "train.checkpoint_every=null", "eval.tasks=[bioasq_list_qa]", "eval.limit=1", "log=none"),
    *("eval.max_new_tokens=8", "stages=[mix,train,predict,score]"),
)


class Sweep:
    """A sweep in one folder, typed as often as one likes."""

    def __init__(self, slurm: SlurmCluster, home: Path, *overrides: str) -> None:
        self.slurm, self.home, self.overrides = slurm, home, overrides
        for mix, rows in MIXES.items():
            (home / f"{mix}.jsonl").write_text("".join(ROWS[:rows]) if rows else "no row\n")
        self.environment = {**slurm.environment, "SCIRIFF_CACHE": str(home / "cache")}

    @contextlib.contextmanager
    def typed(self, name: str, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
        """The command in a terminal of its own; what it prints is in NAME.txt."""
        with (self.home / f"{name}.txt").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "sciriff.train", *SLURM, *self.overrides, *more],
                cwd=self.home,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def printed(self, name: str) -> str:
        return (self.home / f"{name}.txt").read_text()

    def wait_until_printed(self, name: str, text: str) -> None:
        self.wait(lambda: text in self.printed(name), f"{text!r} of {name}")

    def wait(self, condition, what: str, seconds: float = 180) -> None:
        give_up_at = time.monotonic() + seconds
        while not condition():
            about = "\n".join([*(path.read_text() for path in self.home.glob("*.txt")), self.slurm.logs()])
            assert time.monotonic() < give_up_at, f"waited for {what}\n{about}"
            time.sleep(0.1)

    def ls(self) -> dict[str, str]:
        """Mix -> status, as `python -m sciriff.ls` shows it."""
        result = subprocess.run(
            [sys.executable, "-m", "sciriff.ls"],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = [re.split(r"  +", line) for line in result.stdout.splitlines()[1:]]
        return {mix: status for name, status, *_ in lines for mix in MIXES if f"path-{mix}.jsonl" in name}

    @property
    def folder(self) -> Path:
        [place] = (self.home / "runs").glob("sweep-*")
        return place

    def run(self, mix: str) -> RunDir:
        [root] = (self.home / "runs").glob(f"demo-*path-{mix}.jsonl*")
        return RunDir(root)

    def row(self, mix: str) -> sweep_record.Job:
        return next(row for row in sweep_record.jobs(self.folder) if f"path-{mix}.jsonl" in row.name)


def training_of(slurm: SlurmCluster, run: RunDir) -> list[int]:
    """The processes that train a run."""
    found = []
    for process in processes_of(slurm):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            if b"sciriff.finetune" in words and str(run.root).encode() in words:
                found.append(process)
    return found


def out_of_time(slurm: SlurmCluster, task: str, run: RunDir, the_sweep: Sweep) -> None:
    """Let the time of a job that trains run out. Its training stands still until Slurm has announced the end."""
    the_sweep.wait(lambda: run.metrics.is_file() and run.metrics.read_text().count("\n") >= 3, "training")
    processes = training_of(slurm, run)
    assert processes
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    steps = run.metrics.read_text().count("\n")
    assert steps < MIXES["long"] // 4, "it is in the middle of training"
    hours, minutes, seconds = map(int, slurm.job(task)["RunTime"].split(":"))
    slurm.command("scontrol", "update", f"JobId={task}", f"TimeLimit={hours * 60 + minutes + (seconds + 35) // 60 + 1}")
    log = run.log(f"slurm-{task}")
    the_sweep.wait(lambda: "stopping after this step" in log.read_text(), "the signal before the end")
    for process in processes:
        os.kill(process, signal.SIGCONT)
    the_sweep.wait(lambda: f"job {task} is back in the queue" in log.read_text(), "the requeue")
    slurm.command("scontrol", "update", f"JobId={task}", "TimeLimit=20")


def at_once(slurm: SlurmCluster, array: str) -> int:
    """How many tasks of an array have run at the same time, at most; each start of a requeued one counts."""
    ends = [end for end in slurm.ends() if end["ArrayJobId"] == array]
    times = [(end[time], change) for end in ends for time, change in (("StartTime", 1), ("EndTime", -1))]
    return max(itertools.accumulate(change for _, change in sorted(times)))


def test_four_jobs_two_at_a_time(slurm: SlurmCluster, tmp_path: Path) -> None:
    four = Sweep(slurm, tmp_path, *FOUR)
    with four.typed("first") as first, four.typed("second") as second:
        four.wait(lambda: all("queued (1_3)" in four.printed(name) for name in ("first", "second")), "both")
        both = {"first": first, "second": second}
        submits = next(name for name in both if "4 of 4 jobs submitted to Slurm as 1: " in four.printed(name))
        looks_on = next(name for name in both if name != submits)
        assert "4 of 4 jobs are in Slurm already\n" in four.printed(looks_on)
        both[looks_on].send_signal(signal.SIGINT)
        assert both[looks_on].wait(timeout=60) == 130
        end = r"`scancel 1` ends them, and this follows them again:\n  \S+ -m sciriff\.train -m hydra/launcher=slurm"
        assert re.search(end, four.printed(looks_on)) and "page:" not in four.printed(looks_on)
        seen = four.ls()
        assert sorted(seen) == sorted(MIXES) and seen["other"] == "queued (1_3)"
        four.wait(lambda: slurm.job("1_3")["Reason"] == "JobArrayTaskLimit", "the limit, not want of room, to hold it")

        four.wait(lambda: len(list((tmp_path / "runs").glob("demo-*path-long.jsonl*"))) > 0, "the long one")
        out_of_time(slurm, "1_0", four.run("long"), four)
        assert both[submits].wait(timeout=180) == 1

    printed = four.printed(submits)
    assert [four.row(mix).status for mix in MIXES] == ["done", "done", "failed", "done"], printed
    assert [slurm.job(f"1_{number}")["Restarts"] for number in range(4)] == ["1", "0", "0", "0"]
    assert "1 of 4 jobs failed; the same command runs only what is not done" in printed
    assert "broken.jsonl:1: not JSON" in printed and f"log: {four.run('broken').log('slurm-1_2')}" in printed
    assert printed.splitlines()[-1] == "error: a job of the sweep failed; the others went on"
    assert (four.folder / sweep_record.PAGE).is_file()
    long = four.run("long")
    assert "resuming from" in long.log("train").read_text()
    steps = [json.loads(line)["step"] for line in long.metrics.read_text().splitlines()]
    assert steps == list(range(1, MIXES["long"] // 4 + 1))
    assert at_once(slurm, "1") == 2

    (tmp_path / "broken.jsonl").write_text("".join(ROWS[:24]))
    with four.typed("third") as third:
        assert third.wait(timeout=180) == 0, four.printed("third")
    assert four.printed("third").startswith("3 of 4 jobs are done\n1 of 4 jobs submitted to Slurm as ")
    assert "#SBATCH --array=2%2\n" in (four.folder / "slurm/0002.sh").read_text()
    assert [row.status for row in sweep_record.jobs(four.folder)] == ["done"] * 4
    assert set(four.ls().values()) == {"finished"}


def test_what_does_not_fit_is_cancelled_or_refused(slurm: SlurmCluster, tmp_path: Path) -> None:
    fits_on_an_a10 = ("experiment=demo", "model=tiny,llama2_7b", "plan.gpu=a10", "plan.gpus=1", "log=none")
    two = Sweep(slurm, tmp_path, *fits_on_an_a10, 'hydra.launcher.setup=["echo setting up","sleep 1000"]')
    with two.typed("refused", "hydra.launcher.partition=nowhere", 'hydra.launcher.sbatch=["--time-min=1"]') as refused:
        assert refused.wait(timeout=60) == 2
    *_, last = two.printed("refused").splitlines()
    assert last.startswith("error: sbatch refuses the jobs: invalid partition specified: nowhere; ")
    assert not list(two.folder.glob("slurm/*.json"))
    assert [row.name for row in sweep_record.jobs(two.folder)] == ["demo-llama2_7b"]

    with two.typed("cancelled") as cancelled:
        two.wait_until_printed("cancelled", "demo-tiny: running (")
        printed = two.printed("cancelled")
        assert "error: demo-llama2_7b: does not fit what hydra.launcher asks for: training needs about" in printed
        assert "1 of 2 jobs submitted" in printed
        script = max(two.folder.glob("slurm/*.sh")).read_text()
        assert "job=(experiment=demo model=tiny log=none)" in script and "model=llama2_7b" not in script
        task = re.search(r"demo-tiny: running \((\d+_0) on n\d\)", printed)[1]
        slurm.command("scancel", task)
        assert cancelled.wait(timeout=60) == 1
    tiny, llama = sweep_record.jobs(two.folder)
    assert (tiny.status, tiny.reason, tiny.slurm) == ("failed", "ended by Slurm: CANCELLED", task)
    assert llama.status == "failed" and "What would fit: " in llama.reason
    assert tiny.log.read_text().startswith("setting up\n") and "CANCELLED" in tiny.log.read_text()
    assert f"    log: {tiny.log}" in two.printed("cancelled")
