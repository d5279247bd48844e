"""How a job in Slurm ended, from its own row and from what Slurm says; and what is said meanwhile."""

from dataclasses import replace
from pathlib import Path

import pytest
from test_slurm_config import GIVEN

from sciriff.config.slurm import slurm_config
from sciriff.driver import sweep
from sciriff.driver.slurm import array, follow, queue
from sciriff.driver.slurm.follow import LeftRunning, outcome
from sciriff.driver.slurm.queue import NoAnswer, SlurmTask, of_sweep, parse
from sciriff.driver.slurm.sweep_jobs import SweepJob
from sciriff.results import sweep_record

ROW = sweep_record.Job(1, "demo-s1", "/runs/demo-s1", "seed=1", "running", slurm="41_1")
TASK = SlurmTask("41", "1", "RUNNING", "None", "n1", "/sweep/slurm/0001.sh")


def state(name: str, reason: str = "None") -> SlurmTask:
    return replace(TASK, state=name, reason=reason)


def test_squeue_is_read_with_bars_in_a_path():
    text = "41|1|PENDING|Resources||/a|b/0001.sh\n41|0|RUNNING|None|n[1-2]|/a|b/0001.sh\n7|N/A|FAILED|None|n1|x.sh\n"
    found = parse(text)
    assert {task.id: task.status for task in found.values()} == {"41_1": "queued", "41_0": "running", "7": "ended"}
    assert found["41_1"].script == "/a|b/0001.sh" and found["41_0"].nodes == "n[1-2]"


@pytest.mark.parametrize("name", ["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "A_NEW_STATE"])
@pytest.mark.parametrize("status", ["queued", "running", "stopped", "failed", "done"])
def test_as_long_as_slurm_has_the_job_it_may_still_change(name: str, status: str):
    assert outcome(replace(ROW, status=status), state(name), 1e9) is None


@pytest.mark.parametrize("known", [None, state("COMPLETED"), state("FAILED"), state("TIMEOUT")])
@pytest.mark.parametrize("status", ["failed", "done"])
def test_the_word_of_the_driver_counts(known: SlurmTask | None, status: str):
    row = replace(ROW, status=status)
    assert outcome(row, known, 0) == row


@pytest.mark.parametrize(
    ("known", "waits", "reason"),
    [
        (state("TIMEOUT", "TimeLimit"), False, "ended by Slurm: TIMEOUT (TimeLimit)"),
        (state("OUT_OF_MEMORY"), False, "ended by Slurm: OUT_OF_MEMORY"),
        (state("NODE_FAIL"), False, "ended by Slurm: NODE_FAIL"),
        (state("CANCELLED"), False, "ended by Slurm: CANCELLED"),
        (state("FAILED", "RaisedSignal:9(Killed)"), True, "ended by Slurm: FAILED (RaisedSignal:9(Killed))"),
        (state("COMPLETED"), True, "it ended in Slurm without a word of its driver"),
        (None, True, "it is gone from Slurm, and its driver could not say why"),
    ],
)
def test_a_driver_that_could_not_write_its_row_gets_one(known: SlurmTask | None, waits: bool, reason: str):
    assert (outcome(ROW, known, 0) is None) is waits, "a shared file system may show its row later"
    row = outcome(ROW, known, follow.SETTLE)
    assert row == replace(ROW, status="failed", reason=reason)
    assert row.log == Path("/runs/demo-s1/logs/slurm-41_1.log")


def test_one_that_was_stopped_and_not_requeued_says_so():
    row = outcome(replace(ROW, status="stopped"), state("FAILED"), follow.SETTLE)
    assert row is not None and row.reason is not None and row.reason.startswith("it was stopped and not put back")


def test_a_sweep_is_followed_to_its_end(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv(sweep.FOLDER, str(tmp_path))
    monkeypatch.setattr(follow.time, "sleep", lambda seconds: None)
    rows = [
        replace(ROW, number=number, name=f"job-{number}", status="queued", slurm=f"41_{number}") for number in (1, 2)
    ]
    for row in rows:
        sweep_record.write(tmp_path, row)
    two = replace(TASK, number="2")

    def script():
        yield {"41_1": state("PENDING", "Priority"), "41_2": replace(two, state="PENDING", reason="JobHeldUser")}
        yield NoAnswer("Unable to contact slurm controller")
        yield NoAnswer("Unable to contact slurm controller")
        yield {"41_1": TASK, "41_2": two}
        yield {"41_1": TASK, "41_2": replace(two, state="OUT_OF_MEMORY")}
        sweep_record.write(tmp_path, replace(rows[0], status="done"))
        yield {"41_1": state("COMPLETED")}

    said = script()

    def ask() -> dict[str, SlurmTask]:
        answer = next(said)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    follow.follow(tmp_path, rows, ask)
    assert [(row.status, row.reason) for row in sweep_record.jobs(tmp_path)] == [
        ("done", None),
        ("failed", "ended by Slurm: OUT_OF_MEMORY"),
    ]
    assert capsys.readouterr().err.splitlines() == [
        "job-1: queued (41_1)",
        "job-2: queued (41_2): JobHeldUser; `scontrol release 41_2` lets it run",
        "Slurm does not answer (Unable to contact slurm controller); trying on, the jobs are not concerned",
        "job-1: running (41_1 on n1)",
        "job-2: running (41_2 on n1)",
        "job-2: failed: ended by Slurm: OUT_OF_MEMORY",
        "job-1: done",
    ]


def test_who_looks_away_is_told_how_to_come_back_and_how_to_end_it(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(sweep.FOLDER, str(tmp_path))
    sweep_record.write(tmp_path, ROW)

    def ask() -> dict[str, SlurmTask]:
        raise KeyboardInterrupt

    with pytest.raises(LeftRunning, match="`scancel 41` ends them, and this follows them again"):
        follow.follow(tmp_path, [replace(ROW, slurm="41_1")], ask)


def test_the_row_of_an_earlier_submission_does_not_count(tmp_path: Path):
    sweep_record.write(tmp_path, replace(ROW, status="failed", reason="no disk", slurm="40_1"))
    follow.follow(tmp_path, [replace(ROW, status="queued")], lambda: {"41_1": state("OUT_OF_MEMORY")})
    assert sweep_record.row(tmp_path, 1) == replace(ROW, status="failed", reason="ended by Slurm: OUT_OF_MEMORY")


def test_what_was_submitted_is_found_again(tmp_path: Path):
    """By the scripts alone, as when the command that submitted them died before it heard the array's id."""
    place = tmp_path / "sweep (1)"
    queue.scripts_of(place).mkdir(parents=True)
    jobs = [SweepJob(n, ("seed=1\n2",), f"job-{n}", f"/runs/it's job-{n}", None) for n in (0, 2)]
    scripts = []
    for submitted in (jobs, jobs[1:]):
        scripts.append(array.next_script(place))
        scripts[-1].write_text(array.script(slurm_config(GIVEN), place, submitted))
    assert [path.name for path in scripts] == ["0001.sh", "0002.sh"]
    other = tmp_path / "another/slurm/0001.sh"
    other.parent.mkdir(parents=True)
    other.write_text(scripts[0].read_text())
    tasks = [
        SlurmTask("41", "0", "RUNNING", "None", "n1", str(scripts[0])),
        SlurmTask("41", "2", "FAILED", "None", "n1", str(scripts[0])),
        SlurmTask("50", "2", "PENDING", "None", "", str(scripts[1])),
        SlurmTask("60", "0", "RUNNING", "None", "n2", str(other)),
        SlurmTask("61", "N/A", "RUNNING", "None", "n2", str(scripts[0])),
        SlurmTask("62", "0", "RUNNING", "None", "n2", str(place / "slurm/0003.sh")),
    ]
    assert {folder: task.id for folder, task in of_sweep(place, tasks).items()} == {
        "/runs/it's job-0": "41_0",
        "/runs/it's job-2": "50_2",
    }


def test_squeue_that_cannot_answer_says_why(tmp_path: Path, monkeypatch):
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: no controller' >&2\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert queue.is_there()
    with pytest.raises(NoAnswer, match="slurm_load_jobs error: no controller"):
        queue.tasks()
