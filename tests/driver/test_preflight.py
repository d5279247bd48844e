"""Runs that are refused before they start because of the folders that they name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sciriff.driver import preflight
from sciriff.driver.plan import make
from sciriff.driver.preflight import weights
from sciriff.mix import __main__ as mix
from sciriff.run.run_dir import RunDir


@pytest.fixture
def problems(composed, tmp_path: Path, monkeypatch):
    """`problems("seed=3")` are the demo's problems with these overrides, in the test's folder."""
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
def test_a_run_cannot_read_its_own_outputs(key, path, more, problems, tmp_path: Path):
    output = tmp_path / "runs/a" / path
    output.parent.mkdir(parents=True)
    output.touch()
    [problem] = problems(f"{key}={output}", *more)
    assert problem.startswith(f"{key}={output} is an output of this run") and "name=" in problem
    link = tmp_path / "link"
    link.symlink_to(output)
    assert len(problems(f"{key}={link}", *more)) == 1
    if key == "model.path":  # without training the model is no output
        assert problems(f"{key}={output}", "train=none") == []


def test_thoughts_are_checked_before_the_training(problems):
    [problem] = problems("eval.thinking_tokens=100000")
    assert "eval.thinking_tokens=100000 leave no room for a prompt" in problem
    [problem] = problems("model.thinking=nonsense")
    assert problem.startswith("model.thinking=nonsense may be a reasoning parser of vLLM, which is not installed")
    assert problems("model.thinking=qwen3") == problems("model.thinking=none") == []


def test_the_mix_stage_refuses_a_budget_that_nothing_would_be_measured_against(composed, tmp_path: Path):
    config = composed("experiment=demo", f"run_dir={tmp_path}/a", f"cache_dir={tmp_path}", "eval.thinking_tokens=5")
    with pytest.raises(ValueError, match=r"eval\.thinking_tokens=5: this model's tokenizer has no known mark"):
        mix.main(config, RunDir(tmp_path / "a"))


def test_a_folder_of_runs_is_no_run(problems, tmp_path: Path):
    for name in ("runs/a", "runs/b"):
        run = RunDir(tmp_path / name)
        run.root.mkdir(parents=True)
        run.config.touch()
        run.manifest.write_text('{"stages": {}}')
    assert problems() == []
    [problem] = problems(f"run_dir={tmp_path}/runs")
    assert problem.startswith(f"run_dir={tmp_path}/runs is a folder of runs, such as a: ")
    assert f"run_dir={tmp_path}/runs/NAME" in problem
    RunDir(tmp_path / "runs").config.touch()
    assert problems(f"run_dir={tmp_path}/runs") == []


def test_a_model_that_is_neither_a_folder_nor_a_hub_id(problems, tmp_path: Path):
    (tmp_path / "runs/b").mkdir(parents=True)
    (tmp_path / "allenai").mkdir()
    assert problems("eval.model=allenai/scitulu-7b", "model.path=allenai/scitulu-7b") == []
    for path in ("runs/typo/model", "./typo", "/typo"):
        [problem] = problems(f"eval.model={path}")
        assert problem.startswith(f"eval.model={path} is neither ") and "hub" in problem
        assert len(problems(f"model.path={path}")) == 1
        assert problems(f"eval.model={path}", "stages=[mix,train]") == []
    assert problems("eval.model=runs/typo") == []
    (tmp_path / "runs/b/config.yaml").touch()
    assert len(problems("eval.model=runs/typo")) == 1


def test_weights_that_are_not_there_or_cannot_be_trained(problems, tmp_path: Path):
    folder = tmp_path / "m"
    folder.mkdir()
    chosen = f"model.path={folder}"
    about = folder / "config.json"
    about.write_text("{}")
    [problem] = problems(chosen)
    assert problem == f"{chosen} has a config.json and no weights (*.safetensors); copy or download it again"
    (folder / "a.safetensors").touch()
    assert problems(chosen) == []
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}')
    [problem] = problems(chosen)
    assert problem.startswith(f"{chosen}: b.safetensors of its index of weights is not there")
    [problem] = problems("train=none", f"eval.model={folder}", "engine=transformers")
    assert problem.startswith(f"eval.model={folder}: b.safetensors")
    (folder / "b.safetensors").touch()
    for stored, says in (
        ({"quant_method": "gptq", "bits": 4}, "gptq, which cannot be restored for training: train the model as it was"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "train=qlora trains adapters beside them"),
        ({"quant_method": "mxfp4"}, None),
    ):
        about.write_text(json.dumps({"quantization_config": stored}))
        found = problems(chosen)
        assert len(found) == (says is not None) and (says is None or says in found[0])


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("q_porj", "there is no linear layer q_porj to adapt; did you mean 'q_proj'?"),
        ("all-linear", "train.lora_targets=null is every linear layer"),
        ("experts", "this model has none"),
        ("self_attn.q_proj", None),
        ("'.*q_.*'", None),
    ],
)
def test_layers_that_the_model_lacks(target: str, says: str | None, composed):
    config = composed("model=tiny", "train=lora", "deepspeed=none", f"train.lora_targets=[{target}]", "name=a")
    found = list(weights.unknown_layers(config))
    assert len(found) == (says is not None) and (says is None or says in found[0])
    typed = replace(config, model=replace(config.model, path="someone/model"))
    assert target in ("all-linear", "experts") or list(weights.unknown_layers(typed)) == []


def test_columns_that_a_table_lacks_are_refused_before_the_start(problems, tmp_path: Path):
    quiz = tmp_path / "quiz.csv"
    quiz.write_text("Question text,Answer\nWhy?,So.\n")
    source, own = f"+mix.sources.quiz.path={quiz}", "+mix.sources.quiz.columns"
    assert problems(source, f"{own}={{prompt: Question text, completion: Answer}}") == []
    [problem] = problems(source)
    assert f"{quiz}: of no known form" in problem and "columns={prompt: Question text, completion: Answer}" in problem
    [problem] = problems(source, f"{own}={{prompt: Question, completion: Answer}}")
    assert f"{quiz}: there is no column 'Question'" in problem and "did you mean 'Question text'?" in problem
    [problem] = problems(source, f"{own}={{promt: Answer}}")
    assert problem.startswith("mix.sources.quiz.columns.promt: rows have no such field; did you mean 'prompt'?")
    [problem] = problems("+mix.sources.tulu.filter={dataset: {a: 1}}")
    assert problem.startswith("mix.sources.tulu.filter.dataset must be a value")


def test_sources_that_do_not_go_together_are_refused_before_the_start(problems, tmp_path: Path):
    mix = tmp_path / "done/mix/train.jsonl"
    mix.parent.mkdir(parents=True)
    mix.touch()
    [problem] = problems(f"mix.path={tmp_path}/done")
    assert f"is the folder of a run; its mix is mix.path={mix}" in problem
    assert problems(f"mix.path={mix}") == []
    [problem] = problems(f"mix.path={mix}", f"+mix.sources.mine.path={mix}")
    assert "leave out mix.sources.mine, or mix.path" in problem
    [problem] = problems("mix=own", "stages=[mix]")
    assert "+mix.sources.NAME.path=FILE" in problem


def test_what_a_tracker_or_a_push_lacks_is_named(problems, monkeypatch: pytest.MonkeyPatch):
    for name in ("MLFLOW_TRACKING_URI", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(preflight.packages, "is_installed", lambda package: package != "mlflow")
    found = problems("log=mlflow", "log.mode=online", "stages=[publish]", "publish=hub", "publish.repo=me/mine")
    package, server, model, *_ = found
    assert "log=mlflow" in package and "sciriff[mlflow]" in package and "MLFLOW_TRACKING_URI" in server
    assert "publish.what names model" in model and "add train to stages" in model
