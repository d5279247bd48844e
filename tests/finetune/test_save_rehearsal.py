"""What writes the finished model is tried before the first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import Compose, finetune, make_run, tiny_model
from transformers import LlamaConfig, LlamaForCausalLM

from sciriff.config import SAMPLE
from sciriff.finetune import save_rehearsal
from sciriff.models.loading import load_model

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("in_process")


class Alone:
    """The only rank of a training."""

    rank = 0

    def __init__(self) -> None:
        self.said: list[str] = []

    def broadcast(self, value: Any) -> Any:
        return value

    def log(self, text: str) -> None:
        self.said.append(text)


class Forgetful(LlamaForCausalLM):
    """A family that reads a weight that it does not save."""

    _keys_to_ignore_on_save = ("model.norm.weight",)


def forgetful(device: str) -> Forgetful:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.device(device):
        return Forgetful(LlamaConfig(**small, vocab_size=2048))


def test_a_weight_that_would_not_be_read_back_is_named_in_one_line() -> None:
    problem = r"Forgetful: model\.norm\.weight would not be read back from what this transformers saves \(1 weights"
    with pytest.raises(ValueError, match=problem) as error:
        save_rehearsal._there_and_back(forgetful("meta"), torch.float32)
    assert "\n" not in str(error.value)


def test_a_folder_that_would_be_read_as_another_class_is_refused() -> None:
    workers: Any = Alone()
    with pytest.raises(ValueError, match=r"a trained Forgetful would be read back as LlamaForCausalLM"):
        save_rehearsal.rehearse(tiny_model(), forgetful("cpu"), workers)


def test_what_cannot_be_read_at_the_end_is_said_at_the_start(tmp_path: Path, composed: Callable[..., Any]) -> None:
    folder = tmp_path / "base"
    load_model(tiny_model(), seed=0, dtype=torch.float32).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text("no JSON")
    run = make_run(composed, tmp_path / "run", model=tiny_model(path=str(folder)))
    with pytest.raises(ValueError, match=r"preprocessor_config\.json is not a JSON object, so no server could load"):
        finetune(run)
    assert not run.metrics.exists()


def test_a_router_that_is_read_in_float32_is_saved_in_it(
    tmp_path: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers keeps it whatever type a file has, and it would not be what was written."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tiny_families
    from safetensors.torch import load_file

    tiny_families.save("glm4_moe", tmp_path / "base", SAMPLE / "tokenizer")
    model = tiny_model(path=str(tmp_path / "base"), dtype="bfloat16")
    run = finetune(make_run(composed, tmp_path / "run", model=model, max_steps=1))
    saved = load_file(run.model / "model.safetensors")
    router = "model.layers.1.mlp.gate.weight"
    assert {saved[router].dtype, saved["model.embed_tokens.weight"].dtype} == {torch.float32, torch.bfloat16}
    assert saved[router].ne(saved[router].bfloat16()).any()


def test_a_model_of_text_alone_says_nothing_about_pictures() -> None:
    workers: Any = Alone()
    model = tiny_model()
    plan = save_rehearsal.rehearse(model, load_model(model, seed=0, dtype=torch.float32), workers)
    assert (plan.dtypes, plan.processor, workers.said) == ({}, {}, [])
