"""What is refused before a run starts, by what lies in the folders that it names."""

from pathlib import Path

import pytest

from sciriff.driver import preflight
from sciriff.driver.plan import make
from sciriff.run.run_dir import RunDir


@pytest.fixture
def problems(composed, tmp_path: Path, monkeypatch):
    """`problems("seed=3")` are those of the demo with these overrides, in the folder of the test."""
    monkeypatch.chdir(tmp_path)

    def found(*overrides: str) -> list[str]:
        config = composed("experiment=demo", "name=a", f"run_dir={tmp_path}/runs/a", *overrides)
        return list(preflight.problems(config, make(config)))

    return found


@pytest.mark.parametrize(
    ("key", "path", "more"),
    [
        ("model.path", "model", ()),
        ("model.path", "checkpoints/step-5", ()),
        ("model.tokenizer", "model", ()),
        ("mix.path", "mix/train.jsonl", ("mix.overlap=none",)),
        ("mix.sources.tulu.path", "mix/rows.jsonl", ()),
    ],
)
def test_what_the_run_makes_itself_is_not_read(key, path, more, problems, tmp_path: Path):
    own = tmp_path / "runs/a" / path
    own.parent.mkdir(parents=True)
    own.touch()
    assert problems(f"{key}={own}", *more) == [
        f"{key}={own} is made by this run itself, and would be lost: copy it, or choose another name=..."
    ]
    link = tmp_path / "link"
    link.symlink_to(own)
    assert len(problems(f"{key}={link}", *more)) == 1
    if key == "model.path":  # nothing is made where nothing is trained
        assert problems(f"{key}={own}", "train=none") == []


def test_a_folder_of_runs_is_no_run(problems, tmp_path: Path):
    for name in ("runs/a", "runs/b"):
        run = RunDir(tmp_path / name)
        run.root.mkdir(parents=True)
        run.config.touch()
        run.manifest.write_text('{"stages": {}}')
    assert problems() == []
    [problem] = problems(f"run_dir={tmp_path}/runs")
    assert problem == f"run_dir={tmp_path}/runs is a folder of runs, such as a: run_dir={tmp_path}/runs/NAME is one"
    RunDir(tmp_path / "runs").config.touch()
    assert problems(f"run_dir={tmp_path}/runs") == []


def test_what_is_no_folder_and_no_hub_id(problems, tmp_path: Path):
    (tmp_path / "runs/b").mkdir(parents=True)
    (tmp_path / "allenai").mkdir()
    assert problems("eval.model=allenai/scitulu-7b", "model.path=allenai/scitulu-7b") == []
    for path in ("runs/typo/model", "./typo", "/typo"):
        [problem] = problems(f"eval.model={path}")
        assert problem == f"eval.model={path} does not exist, and is no id on the Hugging Face hub"
        assert len(problems(f"model.path={path}")) == 1
        assert problems(f"eval.model={path}", "stages=[mix,train]") == []
    assert problems("eval.model=runs/typo") == []
    (tmp_path / "runs/b/config.yaml").touch()
    assert len(problems("eval.model=runs/typo")) == 1
