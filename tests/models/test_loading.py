import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sciriff.config import SAMPLE, ModelConfig, ShapeConfig
from sciriff.models.loading import load_model, load_tokenizer

TOKENIZER = str(SAMPLE / "tokenizer")


def model_config(**values: Any) -> ModelConfig:
    shape = ShapeConfig(layers=1, hidden=32, intermediate=64, heads=2, kv_heads=1, vocabulary=4096, context=64)
    return ModelConfig(**{"name": "m", "tokenizer": TOKENIZER, "chat": "tulu", "shape": shape, **values})


def load(settings: ModelConfig, seed: int = 1, dtype: torch.dtype = torch.float32) -> Any:
    return load_model(settings, seed=seed, dtype=dtype)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A model folder without a tokenizer."""
    load(model_config()).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_without_a_path_is_a_function_of_the_seed() -> None:
    before = torch.get_rng_state()
    first, again, other = load(model_config()), load(model_config()), load(model_config(), seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    weights = first.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in again.state_dict().items())
    assert not all(torch.equal(weights[name], tensor) for name, tensor in other.state_dict().items())


@pytest.mark.parametrize("head_width", [None, 24])
def test_it_has_the_shape_and_the_tokens_of_the_config(head_width: int | None) -> None:
    settings = model_config()
    settings = replace(settings, shape=replace(settings.shape, head_width=head_width))
    model, tokenizer = load(settings, dtype=torch.bfloat16), load_tokenizer(settings)
    assert sum(p.numel() for p in model.parameters()) == settings.shape.parameters
    assert model.dtype == torch.bfloat16
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.config.max_position_embeddings == 64


def test_a_folder_loads_in_the_type_asked_for(saved: Path) -> None:
    model = load(model_config(path=str(saved)), dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert torch.equal(
        model.get_input_embeddings().weight, load(model_config()).get_input_embeddings().weight.bfloat16()
    )


def test_the_tokenizer_may_stand_in_the_models_folder(saved: Path) -> None:
    tokenizer = load_tokenizer(model_config())
    tokenizer.save_pretrained(saved)
    assert load_tokenizer(model_config(path=str(saved), tokenizer=None)).get_vocab() == tokenizer.get_vocab()


def test_a_folder_without_a_tokenizer(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"has no tokenizer\.json; name a tokenizer: model\.tokenizer="):
        load_tokenizer(model_config(path=str(saved), tokenizer=None))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^model\.path=.*/gone: there is no such folder$"):
        load(model_config(path=str(tmp_path / "gone")))
    with pytest.raises(ValueError, match=r"^model\.tokenizer=\./gone: there is no such folder$"):
        load_tokenizer(model_config(tokenizer="./gone"))


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load(model_config(path=str(tmp_path)))


def test_damaged_files_are_named_in_one_line(saved: Path, tmp_path: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"^model\.path=.*cannot be loaded \(SafetensorError: [^\n]*$"):
        load(model_config(path=str(saved)))
    (saved / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"^model\.path=.*cannot be loaded [^\n]*$"):
        load(model_config(path=str(saved)))
    shutil.copytree(TOKENIZER, tmp_path / "tokenizer")
    for content in ("{", "{}"):
        (tmp_path / "tokenizer" / "tokenizer.json").write_text(content)
        with pytest.raises(ValueError, match=r"^model\.tokenizer=[^\n]*$"):
            load_tokenizer(model_config(tokenizer=str(tmp_path / "tokenizer")))


def test_a_vocabulary_that_is_too_small() -> None:
    shape = ShapeConfig(layers=1, hidden=32, intermediate=64, heads=2, kv_heads=1, vocabulary=100, context=64)
    with pytest.raises(ValueError, match=r"model\.shape has embeddings for 100 tokens, and its tokenizer makes \d{4};"):
        load(model_config(shape=shape))


def test_a_vocabulary_of_a_folder_that_is_too_small(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "vocab_size": 50}))
    with pytest.raises(ValueError, match=r"model\.path=.* has embeddings for 50 tokens"):
        load(model_config(path=str(saved)))


def test_the_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"^model\.path=nobody/nothing: [^\n]*the hub cannot be reached; download it"):
        load_tokenizer(model_config(path="nobody/nothing", tokenizer=None))
    with pytest.raises(ValueError, match=r"^model\.path=nobody/nothing: [^\n]*the hub cannot be reached; download it"):
        load(model_config(path="nobody/nothing"))


def test_code_of_a_repository_runs_only_when_asked_for(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "code.Config"}}
    (saved / "config.json").write_text(json.dumps(config))
    (saved / "code.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ValueError, match=r"^model\.path=[^\n]* model\.trust_remote_code=true$"):
        load(model_config(path=str(saved)))
