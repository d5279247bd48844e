"""Checkpoints with towers that text never reaches: trained without them, saved with them."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from finetune_runs import Compose, finetune, losses, make_run, tiny_model, train

from sciriff.config import SAMPLE
from sciriff.finetune import activation_checkpointing, text_model, throughput
from sciriff.models import processor_files
from sciriff.models.loading import auto_class, load_config, load_model

pytestmark = pytest.mark.usefixtures("in_process")

ROOT = Path(__file__).parents[2]
TOWERS = {
    "gemma3": ("model.vision_tower", "model.multi_modal_projector"),
    "gemma4": ("model.vision_tower", "model.embed_vision"),
    "mistral3": ("model.vision_tower", "model.multi_modal_projector"),
    "qwen3_5": ("model.visual",),
}
PICTURES = {"image_processor_type": "Gemma3ImageProcessor", "do_resize": True, "size": {"height": 28, "width": 28}}

Save = Callable[[str], Path]


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Save:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tiny_families

    def saved(name: str) -> Path:
        tiny_families.save(name, tmp_path / name, SAMPLE / "tokenizer")
        return tmp_path / name

    return saved


def loaded(folder: Path) -> Any:
    return load_model(tiny_model(path=str(folder)), seed=0, dtype=torch.float32)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def is_of(towers: tuple[str, ...], name: str) -> bool:
    return any(tower.removeprefix("model.") in name for tower in towers)


@pytest.mark.parametrize("family", TOWERS)
def test_text_goes_through_the_language_model_alone(save: Save, family: str) -> None:
    model = loaded(save(family))
    line = text_model.freeze_towers(model, torch.bfloat16)
    frozen = {name: weight for name, weight in model.named_parameters() if not weight.requires_grad}
    assert set(frozen) == {name for name, _ in model.named_parameters() if name.startswith(TOWERS[family])}
    assert {weight.dtype for weight in frozen.values()} == {torch.bfloat16}
    count = sum(weight.numel() for weight in frozen.values())
    assert (
        line == f"{', '.join(TOWERS[family])} ({count:,} weights) get no input from text: frozen and kept as they are"
    )
    assert len(activation_checkpointing._layers(model)) == model.config.get_text_config().num_hidden_layers == 2
    text = dict(text_model.named_parameters(model))
    assert sorted([*text, *frozen]) == sorted(name for name, _ in model.named_parameters())
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    tables -= {id(model.get_output_embeddings().weight)}
    assert throughput.matrix_parameters(model) == sum(p.numel() for p in text.values() if id(p) not in tables)


def test_a_model_of_text_alone_has_no_towers() -> None:
    model = load_model(tiny_model(), seed=0, dtype=torch.float32)
    assert text_model.freeze_towers(model, torch.bfloat16) is None
    assert text_model.prefixes(model) == ("",)
    assert dict(text_model.named_parameters(model)).keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize(
    "method", ["lora", *(pytest.param(name, marks=pytest.mark.slow) for name in ("full", "qlora"))]
)
def test_the_finished_model_has_the_towers_bit_for_bit(
    save: Save, composed: Compose, tmp_path: Path, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    base = save("gemma3")
    (base / "preprocessor_config.json").write_text(json.dumps(PICTURES))
    processor = {"processor_class": "Gemma3Processor", "image_seq_length": 4, "chat_template": "stale"}
    (base / "processor_config.json").write_text(json.dumps(processor))
    (base / "chat_template.json").write_text(json.dumps({"chat_template": "stale"}))
    lora = {} if method == "full" else {"method": method, "lora_rank": 4, "lora_alpha": 8.0, "lora_dropout": 0.0}
    for package in {"full": (), "lora": ("peft",), "qlora": ("peft", "bitsandbytes")}[method]:
        pytest.importorskip(package)
    run = finetune(make_run(composed, tmp_path / "run", model=tiny_model(path=str(base)), max_steps=2, **lora))
    assert "model.vision_tower, model.multi_modal_projector" in capfd.readouterr().out
    before, after = weights(base), weights(run.model)
    assert before.keys() == after.keys()
    towers = {name for name in before if is_of(TOWERS["gemma3"], name)}
    assert len(towers) > 40
    assert all(torch.equal(before[name], after[name]) for name in towers)
    assert any(not torch.equal(before[name], after[name]) for name in before.keys() - towers)
    config = json.loads((run.model / "config.json").read_text())
    assert config["architectures"] == ["Gemma3ForConditionalGeneration"]
    assert config["text_config"]["model_type"] == "gemma3_text"
    assert (run.model / "preprocessor_config.json").read_bytes() == (base / "preprocessor_config.json").read_bytes()
    assert json.loads((run.model / "processor_config.json").read_text()) == {
        "processor_class": "Gemma3Processor",
        "image_seq_length": 4,
    }
    assert not (run.model / "chat_template.json").exists()
    assert "stale" not in (run.model / "chat_template.jinja").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_two_processes_train_a_model_with_towers_as_one_does(
    save: Save, composed: Compose, tmp_path: Path, zero_stage: int
) -> None:
    model = tiny_model(path=str(save("gemma3")))
    one, two = (
        make_run(composed, tmp_path / name, model=model, max_steps=3, **more)
        for name, more in (("one", {}), ("two", {"num_processes": 2, "zero_stage": zero_stage}))
    )
    finetune(one)
    output = train(two, timeout=300)
    assert output.count("get no input from text") == 1
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    after = weights(two.model)
    for name, weight in weights(tmp_path / "gemma3").items():
        if is_of(TOWERS["gemma3"], name):
            assert torch.equal(after[name], weight), name


class Branches(torch.nn.Module):
    """A layer that uses one of its experts, never its third matrix, and another that is in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.ModuleDict(), torch.nn.ModuleDict()])
        for layer in self.layers:
            layer["experts"] = torch.nn.ModuleList([torch.nn.Linear(4, 4, bias=False) for _ in range(3)])
        self.layers[1]["shared"] = torch.nn.Linear(4, 4, bias=False)
        self.future = torch.nn.Linear(4, 4, bias=False)
        self.used = torch.nn.Parameter(torch.ones(4))

    def expect(self, batch: Any) -> None:
        pass

    def forward(self, tokens: torch.Tensor, *others: Any) -> torch.Tensor:
        hidden = self.used * tokens.sum()
        return self.layers[1]["experts"][2](self.layers[0]["experts"][0](hidden)).sum()


def test_weights_that_no_loss_depends_on_are_frozen_and_experts_are_not() -> None:
    model = Branches()
    accelerator = SimpleNamespace(autocast=lambda: torch.autocast("cpu", enabled=False))
    workers: Any = SimpleNamespace(device=torch.device("cpu"), accelerator=accelerator, count=1, gather=list)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    found = text_model.rehearse(model, 10, workers, in_shares=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert {name for name, weight in model.named_parameters() if not weight.requires_grad} == {
        "layers.1.shared.weight",
        "future.weight",
    }
    assert found.by_chance == [f"layers.{layer}.experts.{n}.weight" for layer, n in ((0, 1), (0, 2), (1, 0), (1, 1))]
    line = found.line()
    assert line is not None
    assert line.startswith("layers.*.shared.weight, future.weight (32 weights) do not enter the loss")


def test_the_class_is_that_with_the_towers_where_the_checkpoint_has_them(save: Save) -> None:
    folder = save("qwen3_5")
    config = load_config(tiny_model(path=str(folder)))
    assert type(loaded(folder)).__name__ == "Qwen3_5ForConditionalGeneration"
    config.architectures = ["Qwen3_5ForCausalLM"]
    assert auto_class(config).__name__ == "AutoModelForCausalLM"


def test_processor_files_of_strangers(tmp_path: Path) -> None:
    model = tiny_model(path=str(tmp_path))
    assert processor_files.read(model) == {}
    secret = tmp_path.parent / "secret.json"
    secret.write_text("{}")
    file = tmp_path / "preprocessor_config.json"
    file.symlink_to(secret)
    with pytest.raises(ValueError, match=r"preprocessor_config\.json is not a plain file of its folder"):
        processor_files.read(model)
    for content, problem in ((b" " * (2**20 + 1), "bytes, and at most"), (b"[1]", "not a JSON object")):
        file.unlink()
        file.write_bytes(content)
        with pytest.raises(ValueError, match=problem):
            processor_files.read(model)


def test_processor_files_of_a_snapshot_in_the_hub_cache_are_links(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "0123", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_bytes(b'{"a": 1}')
    (snapshot / "processor_config.json").symlink_to("../../blobs/abc")
    assert processor_files.read(tiny_model(path=str(snapshot))) == {"processor_config.json": b'{"a": 1}'}
