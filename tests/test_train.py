"""The command line: what a person mistypes gets one line, what cannot run is refused, what was asked is planned."""

import fcntl
import json
import re
import sys
from pathlib import Path

import pytest

from sciriff.config import conf_dir
from sciriff.driver import preflight
from sciriff.driver.plan import make
from sciriff.driver.preflight import packages


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        ("mdoel=llama2_7b", "mdoel is not a key of the config; did you mean 'model'?"),
        (
            "train.learning_rte=1e-5",
            "train.learning_rte is not a key of the config; did you mean 'train.learning_rate'?",
        ),
        ("model=llama7b", "model=llama7b is not known; did you mean 'llama2_7b'?"),
        ("experiment=dmeo", "experiment=dmeo is not known; did you mean 'demo'?"),
        ("seed=abc", "seed=abc: the value must be a whole number"),
        ("train.learning_rate=fast", "train.learning_rate=fast: the value must be a number"),
        ("train.global_batch_size=0", "train.global_batch_size=0 must be at least 1"),
        ("mix.take=frist", "mix.take=frist is not known; did you mean 'first'?"),
        ("mix.tulu=some", "mix.tulu=some must be none, match, all or a whole number of 0 or more"),
        ("stages=[mix,trian]", "stages=trian is not known; did you mean 'train'?"),
        ("model.chat=tulip", "model.chat=tulip is not known; did you mean 'tulu'?"),
        ("+foo=1", "foo is not a key of the config"),
        ("train.micro_batch_tokens=2048", "train.max_length=4096 does not fit train.micro_batch_tokens=2048"),
        ("nonsense", "nonsense: what is typed must be KEY=VALUE"),
        ("judge=null", "judge=null is no option; judge=none is, or one of"),
        ("model.api.name=foo", "model.api is null here, so model.api.name cannot be set"),
        ("train.learning_rate=nan", "train.learning_rate=nan must be a number that is finite"),
        ("train.weight_decay=nan", "train.weight_decay=nan must be a number that is finite"),
    ],
)
def test_a_mistake_gets_one_line(mistake: str, line: str, cli):
    result = cli(mistake)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ")
    assert line in result.stderr


def test_what_cannot_run_is_refused_with_what_is_missing_and_what_works(cli, tmp_path: Path):
    result = cli("model=llama2_70b", "plan.gpu=a100_40gb", "plan.gpus=1")
    assert result.returncode == 2
    assert "training needs about" in result.stderr
    assert "python -m sciriff.train experiment=demo" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_missing_files_and_unknown_tasks_are_named(cli):
    result = cli("experiment=demo", "eval.path=nowhere.jsonl", "eval.tasks=[biored]", "report.beside=[runs/none]")
    assert result.returncode == 2
    assert re.search(r"eval\.path=.*nowhere\.jsonl does not exist", result.stderr)
    assert "biored is not a held-out task; did you mean 'biored_ner'?" in result.stderr
    assert "report.beside=" in result.stderr


@pytest.mark.parametrize(("python", "problem"), [("/etc/hosts", "cannot be run"), ("/bin/false", "works"), (None, "")])
def test_another_interpreter_is_asked_what_it_has(python, problem, composed):
    config = composed("experiment=demo", "name=a", f"engine.python={python or sys.executable}")
    found = [line for line in preflight.problems(config, make(config)) if "engine.python" in line]
    assert problem in "".join(found)
    assert bool(found) is (python is not None)


def test_what_does_not_answer_is_named(composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Here an interpreter that hangs, and a wandb that does."""
    hangs = tmp_path / "hangs"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(packages, "PATIENCE", 0.2)
    monkeypatch.setattr(sys, "executable", str(hangs))
    config = composed("experiment=demo", "name=a", f"engine.python={hangs}", "log=wandb")
    found = "\n".join(preflight.problems(config, make(config)))
    assert f"engine.python={hangs} does not answer within 0.2 s" in found
    assert "log=wandb: the package wandb does not answer within 0.2 s. log=offline needs no account" in found


def test_dry_run_prints_the_plan_and_starts_nothing(cli, tmp_path: Path):
    result = cli("model=llama2_7b", "dry_run=true", "plan.gpu=h100", "plan.gpus=8")
    assert result.returncode == 0, result.stderr
    assert "70,714 rows" in result.stdout
    assert "1106 steps of 128 sequences" in result.stdout
    assert "8 training processes, DeepSpeed ZeRO-3" in result.stdout
    assert "GiB a process" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_choices(cli):
    result = cli("--help")
    assert result.returncode == 0
    for group in ("model:", "mix:", "experiment:"):
        assert group in result.stdout
    assert "python -m sciriff.train experiment=demo" in result.stdout


def test_driver_loads_no_framework(cli, tmp_path: Path):
    (tmp_path / "loaded.py").write_text(
        "import json, sys\n"
        "sys.argv = ['sciriff.train', 'experiment=demo', 'dry_run=true']\n"
        "import sciriff.train\n"
        "assert sciriff.train.main() == 0\n"
        "print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))\n"
    )
    result = cli(module="loaded")
    assert result.returncode == 0, result.stderr
    loaded = set(json.loads(result.stdout.splitlines()[-1]))
    heavy = {"torch", "transformers", "datasets", "deepspeed", "accelerate", "vllm", "wandb", "numpy", "pyarrow"}
    assert not loaded & heavy


OF_ANSWERS = ("train=none", "log=none", "predictions=answers")


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            ("experiment=demo", "seed=1,2", "run_dir=here"),
            "run_dir= is one folder for all jobs of a sweep; leave it out",
        ),
        (("experiment=demo", "seed=1,2", "++name=foo"), "name= is one folder for all jobs of a sweep; leave it out"),
        (("experiment=demo", "seed=1,1"), "two jobs of this sweep are the same, experiment=demo seed=1; leave one out"),
        ((*OF_ANSWERS, "eval.resamples=0,10"), r"'run_dir=runs/${name}-${eval.resamples}'"),
        ((*OF_ANSWERS, "judge=none,recorded"), "one has judge=none, the other judge=recorded"),
        (("experiment=demo", "train.attention=sdpa,eager"), r"'run_dir=runs/${name}-${train.attention}'"),
        (("train=none", "model=custom", "model.path=a/x,b/x"), "one has model.path=a/x, the other model.path=b/x"),
    ],
)
def test_sweep_refuses_one_folder_for_several_jobs(typed, line, cli, tmp_path: Path):
    result = cli("-m", *typed)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and line in result.stderr
    assert not list(tmp_path.glob("**/config.yaml"))


def test_a_value_of_another_key_is_in_the_name(cli):
    result = cli("experiment=demo", "mix.seed=${seed}", "seed=3", "dry_run=true", "run_dir=x/${name}")
    assert "/x/demo-seed-3-s3\n" in result.stdout, result.stderr


@pytest.mark.parametrize(
    ("run_dir", "folders"),
    [("x/${name}", ["x/demo-s1", "x/demo-s2"]), ("x/${seed}", ["x/1", "x/2"])],
)
@pytest.mark.parametrize("launcher", ["basic", "slurm"])
def test_jobs_of_a_sweep_may_have_folders_elsewhere(run_dir, folders, launcher, cli, tmp_path: Path):
    typed = ("experiment=demo", "seed=1,2", f"run_dir={run_dir}", "dry_run=true", f"hydra/launcher={launcher}")
    result = cli("-m", *typed)
    assert result.returncode == 0, result.stderr
    assert re.findall(r"^run .* in (\S+)", result.stdout, re.MULTILINE) == [
        str(tmp_path / folder) for folder in folders
    ]


def test_a_sweep_in_the_folder_of_another_that_runs_is_refused(cli, tmp_path: Path):
    rows = tmp_path / "runs/sweep-demo-s1+2/jobs"
    rows.mkdir(parents=True)
    (rows / "0000.json").write_text("{}")
    with (rows.parent / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = cli("-m", "experiment=demo", "seed=1,2")
    assert result.returncode == 2
    assert f"error: {rows.parent}: another command runs this sweep; when it has ended" in result.stderr
    assert (rows / "0000.json").exists() and not list(tmp_path.glob("**/config.yaml"))


def test_evaluate_is_train_none(cli):
    result = cli("experiment=demo", "dry_run=true", module="sciriff.evaluate")
    assert result.returncode == 0, result.stderr
    assert "predict, score, report" in result.stdout
    assert "spawn" not in result.stdout


def test_configs_are_text_files():
    for path in conf_dir().rglob("*.yaml"):
        assert path.read_text().endswith("\n"), path
