"""A build can add its tasks to those of others, one after another or beside each other, with the same result."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recreate_runs import build_rows, bytes_of, rows_of, write_task

from sciriff.run.user_error import UserError

ROOT = Path(__file__).parents[2]


def folder_of(tmp_path: Path, *tasks: str) -> Path:
    for number, task in enumerate(tasks):
        write_task(tmp_path / "templates", task, records=10 + number)
    return tmp_path / "templates"


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m sciriff.recreate`, as a person types it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    typed = [sys.executable, "-m", "sciriff.recreate", *map(str, arguments)]
    return subprocess.run(typed, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_a_sweep_over_tasks_ends_in_the_files_of_one_build(tmp_path: Path):
    folder = folder_of(tmp_path, "one", "two", "three")
    build_rows(folder, tmp_path / "whole", tasks=["one", "two"], cap=8)
    settings = (f"recreate.templates={folder}", "recreate.context_window=null", "recreate.cap=8")
    done = command("-m", *settings, f"recreate.out={tmp_path / 'swept'}", "recreate.tasks=[two],[one]")
    assert done.returncode == 0, done.stderr
    assert bytes_of(tmp_path / "swept") == bytes_of(tmp_path / "whole")
    done = command(*settings, f"recreate.out={tmp_path / 'swept'}", "recreate.tasks=[three]", "recreate.add=true")
    assert done.returncode == 0, done.stderr
    build_rows(folder, tmp_path / "all", cap=8)
    assert bytes_of(tmp_path / "swept") == bytes_of(tmp_path / "all")


@pytest.mark.slow
def test_a_sweep_over_a_setting_needs_a_folder_for_each(tmp_path: Path):
    folder = folder_of(tmp_path, "one")
    typed = (f"recreate.templates={folder}", "recreate.context_window=null", "recreate.cap=3,4")
    done = command("-m", *typed, f"recreate.out={tmp_path / 'swept'}")
    assert done.returncode == 2 and "sweep over recreate.out, too" in done.stderr
    assert sum(map(len, rows_of(tmp_path / "swept").values())) == 3, "the first job's"


def test_an_earlier_build_of_another_folder_is_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder_of(tmp_path, "one", "two")
    monkeypatch.chdir(tmp_path)
    build_rows(Path("templates"), Path("out"), tasks=["one"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    build_rows(Path("../templates"), Path("../out"), add=True, tasks=["two"])
    assert {row["_instance_id"].split(":")[0] for rows in rows_of(tmp_path / "out").values() for row in rows} == {
        "one",
        "two",
    }


def test_without_add_a_build_has_its_own_tasks_alone_and_with_it_those_of_the_same_settings(tmp_path: Path):
    folder = folder_of(tmp_path, "one", "two")
    out = tmp_path / "out"
    build_rows(folder, out, tasks=["one"])
    build_rows(folder, out, tasks=["two"], seed=5, add=True)
    assert {row["_instance_id"].partition(":")[0] for row in rows_of(out)["train"]} == {"two"}, "another seed"
    build_rows(folder, out, tasks=["two"], add=True)
    assert {row["_instance_id"].partition(":")[0] for row in rows_of(out)["train"]} == {"one", "two"}
    build_rows(folder, out, tasks=["two"])
    assert {row["_instance_id"].partition(":")[0] for row in rows_of(out)["train"]} == {"two"}
    build_rows(folder, tmp_path / "two", tasks=["two"])
    assert bytes_of(out) == bytes_of(tmp_path / "two")


@pytest.mark.slow
def test_the_card_of_the_last_has_what_the_others_could_not_build(tmp_path: Path):
    folder = folder_of(tmp_path, "one", "two", "wrong")
    (folder / "wrong.jsonl").write_text('{"text": "no label"}\n')
    out = tmp_path / "out"
    with pytest.raises(UserError, match="no task could be built"):
        build_rows(folder, out, tasks=["wrong"], add=True)
    assert build_rows(folder, out, tasks=["one"], add=True) == 0, "what failed before is no fault of this one"
    assert build_rows(folder, out, tasks=["two"], add=True) == 0
    assert build_rows(folder, tmp_path / "whole") == 1
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    assert "label" in json.loads((out / "card.json").read_text())["failed"]["wrong"]
    write_task(folder, "wrong")
    assert build_rows(folder, out, tasks=["wrong"], add=True) == 0
    assert build_rows(folder, tmp_path / "whole") == 0
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    assert json.loads((out / "card.json").read_text())["failed"] == {}


@pytest.mark.slow
def test_jobs_beside_each_other_add_to_one_folder(tmp_path: Path):
    """As an array of Slurm does."""
    folder = folder_of(tmp_path, "one", "two", "three")
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    typed = [sys.executable, "-m", "sciriff.recreate", f"recreate.templates={folder}", f"recreate.out={out}"]
    typed += ["recreate.context_window=null", "recreate.cap=null", "recreate.add=true"]
    jobs = [
        subprocess.Popen([*typed, f"recreate.tasks=[{task}]"], env=environment, stderr=subprocess.PIPE, text=True)
        for task in ("one", "two", "three")
    ]
    for job in jobs:
        said = job.communicate(timeout=120)[1]
        assert job.returncode == 0, said
    build_rows(folder, tmp_path / "whole")
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_a_task_that_another_command_builds_is_refused(tmp_path: Path):
    folder = folder_of(tmp_path, "one", "two")
    out = tmp_path / "out"
    build_rows(folder, out, tasks=["one"])
    with (out / ".tasks" / ".one.lock").open("ab") as lock, (out / ".tasks" / ".lock").open("ab") as whole:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another command with add holds them
        fcntl.flock(whole, fcntl.LOCK_SH)
        with pytest.raises(UserError, match=r"one in recreate\.out=.* is being built by another command"):
            build_rows(folder, out, tasks=["one"], add=True)
        with pytest.raises(UserError, match=r"recreate\.out=.* is being built by another command"):
            build_rows(folder, out, tasks=["two"])
        assert build_rows(folder, out, tasks=["two"], add=True) == 0


def test_tasks_that_are_not_at_hand_stay_in_the_card(tmp_path: Path):
    folder = folder_of(tmp_path, "one", "two", "away")
    (folder / "away.yaml").write_text((folder / "away.yaml").read_text().replace("data: away.jsonl", "data_dir: away"))
    out = tmp_path / "out"
    with pytest.raises(UserError, match="no task could be built"):
        build_rows(folder, out, tasks=["away"], add=True)
    assert build_rows(folder, out, tasks=["one"], add=True) == 0
    assert list(json.loads((out / "card.json").read_text())["not_at_hand"]) == ["away"]
    (out / ".tasks" / "away" / "absent.json").write_text("of another version")
    assert build_rows(folder, out, tasks=["two"], add=True) == 0


def test_jobs_of_slurm_are_those_of_a_run(tmp_path: Path):
    done = command("-m", "hydra/launcher=slurm", f"recreate.out={tmp_path / 'out'}", "recreate.tasks=[scierc_ner]")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and "python -m sciriff.train -m hydra/launcher=slurm" in line
