"""How a run comes to the shape of a model that nobody typed, and what follows from it."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from published_models import PUBLISHED, TINY, write

from sciriff.config import Config, ShapeConfig, as_dict, conf_dir, load, to_yaml
from sciriff.config.registration import register
from sciriff.driver import model_shape, plan, stage_inputs
from sciriff.driver.composed import checked
from sciriff.driver.frozen_config import freeze
from sciriff.finetune.launch_files import deepspeed_config
from sciriff.models import read_shape
from sciriff.models.training_memory import trained_parameters, training_memory
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

TYPED = "model.shape={layers: 3, hidden: 64, intermediate: 96, heads: 4, kv_heads: 2, vocabulary: 512, context: 256}"
PLANNED = ("plan.gpu=h100", "plan.gpus=8")

Checked = Callable[..., Config]


@pytest.fixture
def job(tmp_path: Path) -> Checked:
    """`job("model=custom", ...)` is the config of a run as its driver has it, in a folder of the test's own."""

    def config_of(*overrides: str) -> Config:
        register()
        own = (f"cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}", "name=x")
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return checked(compose("config", [*own, *overrides]))

    return config_of


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder whose shape is in the cache, so that no child needs transformers."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TINY))
    return at_hand(folder, tmp_path)


def at_hand(folder: Path, place: Path) -> Path:
    read_shape.shape_of(str(folder), None, False, place / "cache")
    return folder


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_shape, "READ", ("false",))


def shape_of(config: Config) -> ShapeConfig:
    assert config.model.shape is not None
    return config.model.shape


def test_the_shape_is_read_and_written_into_the_run(job: Checked, tiny: Path, tmp_path: Path) -> None:
    config = job("model=custom", f"model.path={tiny}")
    shape = shape_of(config)
    assert (shape.layers, shape.hidden, shape.kv_heads, shape.context) == (2, 64, 2, 512)
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    freeze(config, run)
    assert load(run.config).model.shape == shape


def test_a_run_that_goes_on_reads_nothing(job: Checked, tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:
    typed = ("model=custom", f"model.path={tiny}")
    first, run = job(*typed), RunDir(tmp_path / "run")
    run.root.mkdir()
    freeze(first, run)
    monkeypatch.setattr(model_shape, "READ", ("false",))
    assert job(*typed) == first
    assert job(*typed, "stages=[score]").model.shape == first.model.shape, "so that nothing is lost on the way"
    (tiny / "config.json").write_text(json.dumps({**TINY, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"no model can be built of its config\.json"):
        job(*typed)
    monkeypatch.undo()
    at_hand(tiny, tmp_path)
    changed = job(*typed)
    assert shape_of(changed).layers == 3
    freeze(changed, run)  # its files decide what is done again, not what was read of them
    assert load(run.config).model.shape == changed.model.shape


def test_what_was_read_decides_nothing(job: Checked, tiny: Path, tmp_path: Path) -> None:
    config = job("model=custom", f"model.path={tiny}")
    other = replace(config, model=replace(config.model, shape=replace(shape_of(config), layers=7)))
    unread = replace(config, model=replace(config.model, shape=None))
    run = RunDir(tmp_path / "run")
    digests = {stage_inputs.of_prediction(one, run)["model"] for one in (config, other, unread)}
    assert len(digests) == 1
    typed = replace(config, model=replace(config.model, shape=replace(shape_of(config), read_from=None)))
    assert stage_inputs.of_prediction(typed, run)["model"] not in digests
    run.root.mkdir()
    for one in (unread, config, other):
        freeze(one, run)
    run.checkpoints.mkdir()
    with pytest.raises(UserError, match=r"was made with model\.shape"):
        freeze(typed, run)


def test_a_run_of_before_goes_on_with_the_shape_that_it_had(
    job: Checked, tiny: Path, tmp_path: Path, no_child: None
) -> None:
    typed = job("model=custom", f"model.path={tiny}", TYPED)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text(to_yaml(typed))
    assert job("model=custom", f"model.path={tiny}") == typed


def test_a_typed_shape_wins_and_needs_no_child(job: Checked, tiny: Path, no_child: None) -> None:
    assert shape_of(job("model=custom", f"model.path={tiny}", TYPED)).layers == 3
    assert "read_from" not in as_dict(shape_of(job("model=llama2_7b")))
    assert job("model=custom", f"model.path={tiny}", "stages=[mix]").model.shape is None, "a mix needs none"


@pytest.mark.parametrize("typed", ["model.shape.context=100", "model.shape={context: 100}"])
def test_the_context_alone_may_be_typed(typed: str, job: Checked, tiny: Path) -> None:
    shape = shape_of(job("model=custom", f"model.path={tiny}", typed))
    assert (shape.context, shape.layers) == (100, 2)


def test_half_a_shape_is_refused(job: Checked, tiny: Path, no_child: None) -> None:
    says = r"model\.shape\.hidden, .*model\.shape\.context are not set: give all; or leave model\.shape out: it is read"
    with pytest.raises(UserError, match=says):
        job("model=custom", f"model.path={tiny}", "model.shape={layers: 3}")


def test_why_nothing_can_be_read_is_said_in_a_line(job: Checked, tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    empty, deep = tmp_path / "empty", tmp_path / "no/such/folder"
    empty.mkdir()
    for path, reason in (
        (empty, "has no config.json, so it is not a Hugging Face model folder"),
        (deep, "is neither an existing folder nor an id on the Hugging Face hub"),
        (
            "someone/model",
            "cannot be reached; download it first; with the shape typed none is read: model.shape={layers: N",
        ),
    ):
        with pytest.raises(UserError) as refused:
            job("model=custom", f"model.path={path}")
        (line,) = refused.value.lines
        assert line.startswith(f"model.path={path} ") and reason in line, line


def test_a_child_that_dies_or_hangs_ends_in_a_line(job: Checked, tiny: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(model_shape, "READ", ("sh", "-c", "echo 'Traceback'; echo Killed >&2; kill -9 $$"))
    with pytest.raises(UserError, match=r"no model can be built of its config\.json \(Killed\)"):
        job("model=custom", f"model.path={tiny}")

    def hang(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("read", 1)

    monkeypatch.setattr(subprocess, "run", hang)
    monkeypatch.setattr(model_shape, "READ", ("hangs",))
    with pytest.raises(UserError, match=r"was not read within \d+ s.*model\.shape=\{layers: N"):
        job("model=custom", f"model.path={tiny}")


def test_a_mixture_of_experts_is_planned_by_what_each_token_goes_through(job: Checked, tmp_path: Path) -> None:
    folder = at_hand(write("qwen3_30b_a3b", tmp_path / "moe"), tmp_path)
    config = job("model=custom", f"model.path={folder}", *PLANNED)
    shape, made = shape_of(config), plan.make(config)
    assert "30.53B parameters, 3.35B of them for each token" in plan.lines(config, made)[2]
    dense = replace(config, model=replace(config.model, shape=replace(shape, active=None)))
    assert made.hours is not None
    assert plan.make(dense).hours == pytest.approx(made.hours * 30.532 / 3.353, rel=1e-3)
    memory = training_memory(config, 8, on_gpu=True)
    assert memory.weights == pytest.approx(2 * 30_532_122_624 / 8 / 2**30), "all experts are kept"
    zero = deepspeed_config(config, 8, 80)["zero_optimization"]
    assert zero["stage3_prefetch_bucket_size"] == shape.layer == 623_120_640
    assert zero["stage3_max_live_parameters"] == 2 * shape.layer, "the layer that computes, and the next"
    lora = job("model=custom", f"model.path={folder}", "train=lora", *PLANNED)
    assert trained_parameters(lora) == 48 * 64 * (2 * (2048 + 4096) + 2 * (2048 + 512)), "neither experts nor routers"
    experts_too = ("train.lora_targets=[q_proj,experts]", "deepspeed=none")
    named = job("model=custom", f"model.path={folder}", "train=lora", *experts_too, *PLANNED)
    experts = 48 * 128 * 64 * ((2048 + 1536) + (768 + 2048))
    assert trained_parameters(named) == 48 * 64 * (2048 + 4096) + experts


def test_a_tower_is_planned_as_weights_that_stay_as_they_are(job: Checked, tmp_path: Path) -> None:
    folder = at_hand(write("gemma_3_4b", tmp_path / "gemma"), tmp_path)
    config = job("model=custom", f"model.path={folder}", *PLANNED)
    line = plan.lines(config, plan.make(config))[2]
    assert line.endswith("4.30B parameters, 0.42B in towers, which text does not reach")
    assert trained_parameters(config) == 4_300_079_472 - 419_816_304
    memory = training_memory(config, 1, on_gpu=True)
    assert memory.weights == pytest.approx(2 * 4_300_079_472 / 2**30)
    assert memory.optimizer == pytest.approx(12 * trained_parameters(config) / 2**30)


def test_another_model_that_answers_is_planned_by_its_own_shape(job: Checked, tiny: Path, tmp_path: Path) -> None:
    other = at_hand(write("mixtral_8x7b", tmp_path / "mixtral"), tmp_path)
    typed = ("train=none", f"eval.model={other}", "plan.gpu=h100", "plan.gpus=2", "engine=vllm")
    read = job("model=custom", f"model.path={tiny}", *typed)
    assert shape_of(read).parameters == 46_702_792_704
    for config in (read, job("model=llama2_7b", *typed)):
        problem = plan.make(config).generation_problem
        assert problem is not None and problem.endswith("engine.tensor_parallel=2 would fit")
    uneven = job("model=llama2_7b", *typed, "engine.tensor_parallel=3")
    assert "does not share out the 32 attention heads of eval.model" in (plan.make(uneven).generation_problem or "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["qwen3_8b", "qwen3_30b_a3b", "mixtral_8x7b", "gpt_oss_20b", "gemma_3_4b", "olmo_3_7b", "nemotron_h_8b"]
)
def test_a_dry_run_of_a_folder_needs_nothing_typed(name: str, cli: Any, tmp_path: Path) -> None:
    write(name, tmp_path / name)
    result = cli("model=custom", f"model.path={name}", "dry_run=true", *PLANNED)
    assert result.returncode == 0, result.stderr
    billions = float(result.stdout.partition("B parameters")[0].rpartition(" ")[2])
    assert billions == pytest.approx(PUBLISHED[name].parameters / 1e9, rel=0.01)
    assert result.stderr == ""
