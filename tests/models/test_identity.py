"""Models are identified by their content, not their file times; the shorter of two context windows counts."""

import os
import shutil
from pathlib import Path

import pytest
from predict_runs import tiny_model
from transformers import LlamaConfig

from sciriff.config import ModelConfig
from sciriff.models.identity import WHOLE, check_tensor_parallel, context_of, model_identity


def saved_model(folder: Path) -> ModelConfig:
    return ModelConfig(name="saved", path=str(folder), chat="tulu", shape=tiny_model().shape)


def test_a_random_model_is_its_shape_and_seed() -> None:
    identity = model_identity(tiny_model(), None, 1)
    assert identity == model_identity(tiny_model(), None, 1)
    assert identity != model_identity(tiny_model(), None, 2)
    assert identity != model_identity(tiny_model(context=512), None, 1)


def test_a_folder_is_its_files_and_not_their_times(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(range(256)) * (WHOLE // 256 + 4096))
    identity = model_identity(saved_model(folder), None, 1)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    os.utime(copy / "model.safetensors", (1, 1))
    assert model_identity(saved_model(copy), None, 2) == identity
    # Large files are sampled: their first and last bytes count.
    for place in (0, weights.stat().st_size - 1):
        with (copy / "model.safetensors").open("r+b") as file:
            file.seek(place)
            old = file.read(1)
            file.seek(place)
            file.write(bytes([old[0] ^ 1]))
        assert model_identity(saved_model(copy), None, 1) != identity
        with (copy / "model.safetensors").open("r+b") as file:
            file.seek(place)
            file.write(old)
    assert model_identity(saved_model(copy), None, 1) == identity
    (copy / "config.json").write_text('{"rope_theta": 1}')
    assert model_identity(saved_model(copy), None, 1) != identity


def test_a_hub_model_is_its_id_and_commit() -> None:
    model = ModelConfig(name="hub", path="owner/name", chat="tulu", shape=tiny_model().shape)
    first, second = LlamaConfig(), LlamaConfig()
    first._commit_hash, second._commit_hash = "a", "b"
    assert model_identity(model, first, 1) != model_identity(model, second, 1)


def test_the_shorter_context_counts() -> None:
    assert context_of(tiny_model(context=256), None) == 256
    assert context_of(tiny_model(context=256), LlamaConfig(max_position_embeddings=128)) == 128
    assert context_of(tiny_model(context=256), LlamaConfig(max_position_embeddings=4096)) == 256


def test_heads_must_be_shared_out_evenly() -> None:
    grouped = LlamaConfig(hidden_size=96, num_attention_heads=24, num_key_value_heads=8)
    for ways in (1, 2, 4, 8, 24):
        check_tensor_parallel(tiny_model(), grouped, ways)
    for ways in (3, 5, 6, 12, 16):
        with pytest.raises(
            ValueError, match=rf"engine\.tensor_parallel={ways} .* 24 attention heads .* 1, 2, 4, 8, 24$"
        ):
            check_tensor_parallel(tiny_model(), grouped, ways)
    check_tensor_parallel(tiny_model(), None, 2)
    with pytest.raises(ValueError, match=r"2 attention heads \(1 of keys and values\)"):
        check_tensor_parallel(tiny_model(), None, 4)
