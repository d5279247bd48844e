"""Shapes that are read from a config.json, against the weights of published checkpoints and their authors' figures."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from published_models import PUBLISHED, TINY, write, write_header

from sciriff.config import ShapeConfig, as_dict
from sciriff.models import read_shape
from sciriff.models.safetensors_header import weights_in
from sciriff.run.user_error import UserError


def folder_of(place: Path, values: Any) -> Path:
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return place


def shape_in(folder: Path, cache: Path, trust: bool = False) -> ShapeConfig:
    return read_shape.shape_of(str(folder), None, trust, cache).shape


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("qwen3_30b_a3b", "gemma_3_4b") else pytest.param(name, marks=pytest.mark.slow)
        for name in PUBLISHED
    ],
)
def test_published_models_have_the_weights_of_their_files(name: str, tmp_path: Path) -> None:
    folder, published = write(name, tmp_path / name), PUBLISHED[name]
    found = read_shape.shape_of(str(folder), None, False, tmp_path / "cache")
    assert found.shape.parameters == published.parameters == weights_in(folder, found.ignored)
    assert found.shape.active_parameters / 1e9 == pytest.approx(published.active, rel=0.02)
    assert list(read_shape.weights_differ(folder, found)) == []
    assert sum(file.stat().st_blocks for file in folder.glob("*.safetensors")) * 512 < 2**23, "no byte of a weight"


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("qwen3_8b", "qwen3_8b"),
        ("qwen3_30b_a3b", "qwen3_30b_a3b"),
        ("gpt_oss_20b", "gpt_oss_20b"),
        ("gemma_3_4b", "gemma3_4b"),
        ("olmo_3_7b", "olmo3_7b"),
    ],
)
def test_a_shape_in_conf_is_what_would_be_read(name: str, option: str, composed: Any, tmp_path: Path) -> None:
    typed = composed(f"model={option}", "train=none").model.shape
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PUBLISHED[name].config))
    read = shape_in(folder, tmp_path / "cache")
    assert {**as_dict(read), "read_from": None} == {**as_dict(typed), "read_from": None}


def test_a_tower_is_no_part_of_what_text_goes_through(tmp_path: Path) -> None:
    shape = shape_in(write("gemma_3_4b", tmp_path / "gemma"), tmp_path / "cache")
    assert shape.frozen == 416_866_032 + 1152 * 2560 + 1152, "the tower and the projection of its outputs"
    assert shape.language_parameters == shape.active_parameters
    assert (shape.layers, shape.heads, shape.kv_heads, shape.queries, shape.context) == (34, 8, 4, 2048, 131072)


def test_a_hybrid_keeps_keys_and_values_in_layers_with_attention(tmp_path: Path) -> None:
    shape = shape_in(write("nemotron_h_8b", tmp_path / "hybrid"), tmp_path / "cache")
    assert (shape.layers, shape.layers_with_attention) == (52, 4)
    assert shape.linear["q_proj"] == [4, 4096, 4096] and shape.linear["in_proj"] == [24, 4096, 18560]


def test_only_what_a_llama_formula_has_wrong_is_written(tmp_path: Path) -> None:
    llama = {**TINY, "model_type": "llama", "tie_word_embeddings": True}
    shape = shape_in(folder_of(tmp_path / "llama", llama), tmp_path / "cache")
    assert shape == ShapeConfig(2, 64, 96, 4, 2, 512, 512, tied_embeddings=True, read_from=shape.read_from)


def test_what_was_read_is_kept_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sciriff.models import measured_shape

    folder, cache = folder_of(tmp_path / "model", TINY), tmp_path / "cache"
    first = shape_in(folder, cache)
    with monkeypatch.context() as patched:
        patched.setattr(measured_shape, "empty_model", None)
        assert shape_in(folder, cache) == first
    folder_of(folder, {**TINY, "num_hidden_layers": 3})
    assert shape_in(folder, cache).layers == 3
    (kept,) = [file for file in (cache / "shapes").iterdir() if json.loads(file.read_text())["shape"]["layers"] == 3]
    kept.write_text("{")
    assert shape_in(folder, cache).layers == 3, "a damaged file is read anew"


def test_files_of_another_model_are_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", TINY)
    found = read_shape.shape_of(str(folder), None, False, tmp_path / "cache")
    assert list(read_shape.weights_differ(folder, found)) == [], "there are none"
    write_header(folder / "model.safetensors", [("a.weight", "BF16", [100, 100])])
    (line,) = read_shape.weights_differ(folder, found)
    assert f"{found.shape.parameters:,} weights" in line and "hold 10,000" in line
    write_header(folder / "model.safetensors", [("a.qweight", "U8", [100, 100])])
    assert list(read_shape.weights_differ(folder, found)) == [], "of weights in four bits, headers do not say how many"
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    (line,) = read_shape.weights_differ(folder, found)
    assert "not a safetensors file" in line


@pytest.mark.parametrize("size", ["Infinity", "-5", "1e400", "9" * 40, "true", '"3"'])
def test_a_header_that_is_no_headers_is_told(size: str, tmp_path: Path) -> None:
    header = f'{{"a": {{"dtype": "F32", "shape": [{size}], "data_offsets": [0, 4]}}}}'.encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"model\.safetensors: its header is damaged"):
        weights_in(tmp_path)


@pytest.mark.shows("W7")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("{", "its config.json cannot be read"),
        ("[" * 100_000, "its config.json cannot be read"),
        ("[1]", "has no keys and values"),
        ('{"hidden_size": 64}', "names no model_type, so its family is not known; give the shape: SHAPE"),
        ('{"model_type": ["llama"]}', "names no model_type"),
        ({**TINY, "num_hidden_layers": 10**12}, "num_hidden_layers=1000000000000 in its config.json is larger than"),
        ({**TINY, "num_hidden_layers": -(10**12)}, "is larger than any model's"),
        ({**TINY, "hidden_size": 10**30}, "is larger than any model's"),
        ({**TINY, "vocab_size": float("nan")}, "is larger than any model's"),
        ({**TINY, "text_config": {"text_config": {"num_layers": 1e300}}}, "num_layers=1e+300 in its config.json is"),
        (
            {**TINY, "model_type": "qwen3_moe", "num_experts": 90_000, "num_hidden_layers": 9_000},
            "9000 layers of 90000",
        ),
        ({**TINY, "hidden_size": "wide"}, "no qwen3 can be built of its config.json"),
        ({**TINY, "num_hidden_layers": 0}, "no qwen3 can be built of its config.json"),
        ({**TINY, "model_type": "gemma3", "text_config": [1]}, "no gemma3 can be built of its config.json"),
        (
            {**TINY, "model_type": "of\nmy own"},
            "does not know its family (model_type of my own), so it cannot be trained; a newer one may. For train=none",
        ),
        pytest.param({"model_type": "t5"}, "does not know its family (model_type t5)", marks=pytest.mark.slow),
    ],
)
def test_a_config_that_is_no_models_is_refused_in_a_line(values: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        shape_in(folder_of(tmp_path / "model", values), tmp_path / "cache")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
    assert not (tmp_path / "cache").exists()


@pytest.mark.shows("W1", "W3")
def test_code_beside_a_model_is_named_and_does_not_run(tmp_path: Path) -> None:
    own = {**TINY, "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    folder = folder_of(tmp_path / "model", own)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'w')\n")
    assert shape_in(folder, tmp_path / "cache").layers == 2, "a known family needs no code"
    folder_of(folder, {**own, "model_type": "of_my_own"})
    with pytest.raises(
        UserError, match=r"if you have read and trust its own Python code, model\.trust_remote_code=true"
    ):
        shape_in(folder, tmp_path / "cache")
    kernel = {**TINY, "attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"}
    assert shape_in(folder_of(folder, kernel), tmp_path / "cache").layers == 2
    assert not (tmp_path / "RAN").exists()


def test_an_adapter_names_its_merged_model(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="is an adapter without the model that it belongs to"):
        shape_in(adapter, tmp_path / "cache")
    folder_of(tmp_path / "model", TINY)
    with pytest.raises(UserError, match=f"is an adapter: its merged model is in {tmp_path}/model"):
        shape_in(adapter, tmp_path / "cache")


def test_a_missing_shard_is_named_instead_of_two_counts(tmp_path: Path) -> None:
    found = read_shape.Found(ShapeConfig(2, 64, 96, 4, 2, 512, 512), (), ())
    write_header(tmp_path / "model-00001-of-00002.safetensors", [("a", "BF16", [2, 2])])
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert list(read_shape.weights_differ(tmp_path, found)) == [
        "model-00002-of-00002.safetensors, which its index of weights names, is not there"
    ]
