"""What a sweep says of its jobs, which run answers for the untrained model, and the list of runs."""

import fcntl
import json
import re
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sciriff import ls
from sciriff.config import conf_dir, from_container, to_yaml
from sciriff.config.registration import register
from sciriff.driver import sweep
from sciriff.driver.untrained_baseline import untrained_config, untrained_overrides, with_general_of_others
from sciriff.results import sweep_record
from sciriff.run.locks import own_run
from sciriff.run.run_dir import RunDir

SCORES = {
    "summary": {
        "columns": {"biored_ner/f1": {"value": 0.5}},
        "mean": 0.4645,
        "median": 0.5,
        "mean_ci95": [0.41, 0.5],
        "missing": [],
    }
}


def test_table_of_a_sweep_has_scores_and_reasons(tmp_path: Path):
    good, bad = (sweep_record.Job(n, name, str(tmp_path / name), f"seed={n}") for n, name in enumerate(["good", "bad"]))
    RunDir(tmp_path / "good").root.mkdir()
    RunDir(tmp_path / "good").scores.write_text(json.dumps(SCORES))
    for job in (bad, good):
        sweep_record.write(tmp_path / "sweep", job)
    assert [job.status for job in sweep_record.jobs(tmp_path / "sweep")] == ["running", "running"]
    sweep_record.write(tmp_path / "sweep", replace(good, status="done"))
    sweep_record.write(tmp_path / "sweep", replace(bad, status="failed", reason="no disk"))
    header, first, second, *rest = sweep.table(sweep_record.jobs(tmp_path / "sweep"))
    assert header.split() == ["job", "status", "time", "mean"]
    assert first.startswith("good") and first.endswith("46.45 [41.0, 50.0] of 1 of 11")
    assert second.split()[:2] == ["bad", "failed"]
    assert rest[0].startswith("1 of 2 jobs failed") and rest[1] == "  bad: no disk"


def test_a_search_may_repeat_values_but_not_come_to_one_folder_by_others(tmp_path: Path):
    first, again = (sweep_record.Job(n, "a", "/runs/a", "train=none judge=none") for n in range(2))
    for job in (first, again):
        sweep_record.write(tmp_path, job)
    sweep.refuse_folder_of_another(tmp_path, again)
    with pytest.raises(ValueError, match="one has judge=none, the other judge=recorded"):
        sweep.refuse_folder_of_another(tmp_path, sweep_record.Job(2, "a", "/runs/a", "train=none judge=recorded"))


@pytest.mark.slow
def test_dry_run_of_a_sweep_writes_nothing(cli, tmp_path: Path):
    result = cli("-m", "experiment=mixture_ablation", "dry_run=true", "plan.gpu=h100", "plan.gpus=8")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("run       ") == 8
    assert not (tmp_path / "runs").exists()


def test_dry_run_of_a_sweep_says_nothing_of_an_earlier_one(cli, tmp_path: Path):
    jobs = tmp_path / "runs/sweep-demo-s1+2/jobs"
    jobs.mkdir(parents=True)
    (jobs / "0000.json").write_text(json.dumps(asdict(sweep_record.Job(0, "earlier", "runs/earlier", "", "done"))))
    result = cli("-m", "experiment=demo", "seed=1,2", "dry_run=true")
    assert result.returncode == 0, result.stderr
    assert "earlier" not in result.stdout and not (jobs.parent / sweep_record.PAGE).exists()


@pytest.mark.parametrize(
    ("typed", "random_weights", "wanted"),
    [
        (["model=llama2_7b", "mix.per_task=5", "train.epochs=1", "seed=3"], False, ["model=llama2_7b", "train=none"]),
        (
            ["experiment=demo", "seed=3", "eval.limit=2"],
            True,
            ["experiment=demo", "seed=3", "eval.limit=2", "train=none"],
        ),
        (["train=lora", "deepspeed=none", "+deepspeed.extra.a=1", "report.untrained=true"], False, ["train=none"]),
    ],
)
def test_the_untrained_run_is_the_same_for_all_that_differ_in_training(typed, random_weights, wanted):
    assert untrained_overrides(typed, random_weights=random_weights) == wanted


def test_the_untrained_run_keeps_general_tasks_that_another_run_shows(composed, tmp_path):
    plain = composed("experiment=demo", "train=none", f"run_dir={tmp_path}", "name=demo-untrained")
    assert with_general_of_others(plain) == plain, "there is no such run yet"
    measured = composed("experiment=demo", "train=none", f"run_dir={tmp_path}", "name=demo-untrained", "general=sample")
    (tmp_path / "config.yaml").write_text(to_yaml(measured))
    assert with_general_of_others(plain).general == measured.general
    other = replace(measured, general=replace(measured.general, limit=3))
    assert with_general_of_others(other) == other, "its own general tasks count"


def test_what_the_untrained_run_refers_to_is_the_runs_own():
    """`${seed}` is left out of its command line, and what was made of it must not be."""
    register()
    typed = ["model=llama2_7b", "eval.path=/${seed}.jsonl", "eval.max_new_tokens=${train.max_length}"]
    with_it = [*typed, "train.max_length=1000"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        made = [
            untrained_config(from_container(compose("config", [*with_it, "name=x", f"seed={seed}"])), with_it)
            for seed in (1, 2)
        ]
    assert [config.eval.path for config in made] == ["/1.jsonl", "/2.jsonl"]
    assert [config.eval.max_new_tokens for config in made] == [1000, 1000]
    assert made[0].name != made[1].name


def test_the_grid_of_mixes_measures_general_tasks_in_all_runs_and_before_training():
    register()
    typed = ["experiment=mixture_ablation", "general=quick", "mix.per_task=100", "mix.tulu=none"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = from_container(compose("config", [*typed, "name=x"]))
        before = untrained_config(config, typed)
    assert config.report.untrained and "general" in config.active_stages and "general" in before.active_stages
    assert before.general == config.general and before.train.method == "none"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """runs/ with a run of each status."""
    stages = {
        "finished": {"mix": "done", "train": "done", "score": "done"},
        "interrupted": {"mix": "done", "train": "running"},
        "failed": {"mix": "failed"},
        "running": {"train": "running"},
        "new": {},
    }
    for name, records in stages.items():
        run = RunDir(tmp_path / "runs" / name)
        run.root.mkdir(parents=True)
        run.config.write_text("seed: 1\n")
        values = {stage: {"status": status, "inputs": {}} for stage, status in records.items()}
        run.manifest.write_text(json.dumps({"stages": values}))
    RunDir(tmp_path / "runs/finished").scores.write_text(json.dumps(SCORES))
    RunDir(tmp_path / "runs/interrupted").metrics.write_text('{"step": 7, "steps": 90}\n{"step": 8')
    return tmp_path / "runs"


def test_ls_tells_what_each_run_is_doing(runs: Path):
    with RunDir(runs / "running").lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = {path.name: ls.listed(path) for path in runs.iterdir()}
    assert {name: row.status for name, row in found.items()} == {name: name for name in found}
    assert found["finished"].mean == "46.45 [41.0, 50.0] of 1 of 11"
    assert found["interrupted"].stage == "train 7/90"


def test_ls_on_the_command_line(cli, runs: Path):
    everything = cli(module="sciriff.ls")
    assert everything.returncode == 0, everything.stderr
    assert len(everything.stdout.splitlines()) == 6
    some = cli("f*", module="sciriff.ls")
    assert {line.split()[0] for line in some.stdout.splitlines()} == {"run", "finished", "failed"}
    none = cli("finishd", module="sciriff.ls")
    assert (none.returncode, none.stderr.count("\n")) == (2, 1)
    assert "did you mean 'finished'?" in none.stderr
    (runs / "failed/manifest.json").write_text("{")
    (runs / "finished/config.yaml").write_text("a: [1")
    broken = cli(module="sciriff.ls")
    assert broken.returncode == 2 and len(broken.stdout.splitlines()) == 6
    assert {line.split()[0] for line in broken.stdout.splitlines() if "damaged" in line} == {"failed", "finished"}
    assert re.findall(r"error: runs/(\S+): not a", broken.stderr) == ["failed/manifest.json", "finished/config.yaml"]


def test_ls_where_there_are_no_runs(cli):
    assert "there is no folder runs/ here" in cli(module="sciriff.ls").stderr


def test_a_second_driver_may_wait_for_the_first(tmp_path: Path):
    run, entered = RunDir(tmp_path), threading.Event()

    def second() -> None:
        with own_run(run, wait=True):
            entered.set()

    waiting = threading.Thread(target=second)
    with own_run(run):
        with pytest.raises(ValueError, match="is in use by another run"), own_run(run):
            pass
        waiting.start()
        assert not entered.wait(0.3)
    waiting.join(timeout=30)
    assert entered.is_set()
