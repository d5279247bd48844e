"""Models that cannot be merged are refused by their headers and configs, in a line with both and their values."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merge_models import merge_config, random_weights, shapes, write_model, write_weights
from published_models import write_header

from sciriff.config import Config, MergeConfig, ModelConfig, to_yaml
from sciriff.driver import plan, preflight
from sciriff.driver.plan import merging
from sciriff.driver.preflight import files
from sciriff.driver.run_name import run_name
from sciriff.models import mergeable
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

BF16 = torch.bfloat16


def model(folder: Path, chat: str = "tulu") -> ModelConfig:
    return ModelConfig(name="merged", path=str(folder), chat=chat)


def check(first: Path, second: Path, **merge: Any) -> None:
    mergeable.check(MergeConfig(method="linear", models=[str(first), str(second)], **merge), model(first))


def changed(folder: Path, file: str, change: Callable[[Any], object]) -> None:
    values = json.loads((folder / file).read_text())
    change(values)
    (folder / file).write_text(json.dumps(values))


def another_token(values: dict[str, Any]) -> None:
    *_, first, second = values["model"]["vocab"]
    vocabulary = values["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]


def other_pieces(folder: Path) -> None:
    """The folders have a tokenizer without tokenizer.json, of which only bytes can be compared."""
    for one, content in ((folder, b"b"), (folder.parent / "a", b"a")):
        (one / "tokenizer.json").unlink()
        (one / "tokenizer.model").write_bytes(content)


def as_a_pipe(folder: Path) -> None:
    """Reading it would wait for ever."""
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)


def with_head(folder: Path) -> None:
    weights = random_weights(1, BF16)
    folder.joinpath("model.safetensors").unlink()
    write_weights(folder, {**weights, "model.extra.weight": torch.zeros(2, dtype=BF16)})


DIFFERENCES = {
    "layers": (
        lambda b: changed(b, "config.json", lambda values: values.update(num_hidden_layers=3)),
        ["merge.models[1]=", "num_hidden_layers=3", "merge.models[0]=", " has 2", "one architecture"],
    ),
    "family": (
        lambda b: changed(b, "config.json", lambda values: values.update(model_type="mistral")),
        ["merge.models[1]=", "model_type=mistral", "has llama"],
    ),
    "positions": (
        lambda b: changed(b, "config.json", lambda values: values.update(rope_theta=5e5)),
        ["rope_theta=500000.0", "has 10000.0"],
    ),
    "what decides nothing": (
        lambda b: changed(b, "config.json", lambda values: values.update(eos_token_id=7, use_cache=False, dtype="x")),
        None,
    ),
    "quantised": (
        lambda b: changed(b, "config.json", lambda v: v.update(quantization_config={"quant_method": "gptq"})),
        ["merge.models[1]=", "quantised by gptq", "as it was before"],
    ),
    "no config": (
        lambda b: (b / "config.json").write_text("[]"),
        ["merge.models[1]=", "config.json names no model_type"],
    ),
    "vocabulary": (
        lambda b: changed(b, "tokenizer.json", another_token),
        ["merge.models[1]=", "the token ", " with id ", ", and that of merge.models[0]=", "one vocabulary"],
    ),
    "more tokens": (
        lambda b: changed(
            b, "tokenizer.json", lambda v: v["added_tokens"].append({"id": 2047, "content": "<|x\u202e|>"})
        ),
        ["the token <|x�|> with id 2047", "not at all"],
    ),
    "pieces": (other_pieces, ["merge.models[1]=", "its tokenizer.model is not that of merge.models[0]="]),
    "a pipe": (as_a_pipe, None),
    "template": (
        lambda b: (b / "chat_template.jinja").write_text("{{ messages[0].content }}"),
        ["merge.models[1]=", "its chat template has", "where that of merge.models[0]=", "one markup"],
    ),
    "no template": (lambda b: (b / "chat_template.jinja").unlink(), None),
    "one tensor more": (with_head, ["merge.models[1]=", "has the tensor model.extra.weight, and merge.models[0]="]),
    "a shard that is not there": (
        lambda b: (b / "model.safetensors").rename(b / "other.safetensors"),
        ["merge.models[1]=", "has no safetensors files"],
    ),
    "cut off": (
        lambda b: (b / "model.safetensors").write_bytes((b / "model.safetensors").read_bytes()[:-1]),
        ["merge.models[1]=", "model.safetensors: it is cut off"],
    ),
    "damaged": (
        lambda b: (b / "model.safetensors").write_bytes(b"\xff" * 100),
        ["merge.models[1]=", "not a safetensors file"],
    ),
    "an adapter's": (
        lambda b: (b / "adapter_config.json").write_text("{}"),
        ["merge.models[1]=", "adapter_config.json: merge the adapter into its model first"],
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_models_that_differ(name: str, tmp_path: Path) -> None:
    first, second = write_model(tmp_path / "a"), write_model(tmp_path / "b", 1)
    check(first, second)
    change, words = DIFFERENCES[name]
    change(second)
    if words is None:
        check(first, second)
        return
    with pytest.raises(UserError) as error:
        check(first, second)
    assert len(error.value.lines) == 1 and "\u202e" not in str(error.value)
    for word in words:
        assert word in str(error.value), str(error.value)


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        ("F8_E4M3", None, ["model.norm.weight is of type F8_E4M3", "before it was quantised"]),
        ("U8", None, ["is of type U8"]),
        ("I64", None, ["is of type I64, and that of merge.models[0]=", " BF16"]),
        ("BF16", [17], ["has the shape [17], and that of merge.models[0]=", "[16]"]),
        ("F32", None, None),
    ],
)
def test_tensors_that_differ(kind: str, shape: Any, words: list[str] | None, tmp_path: Path) -> None:
    first, second = write_model(tmp_path / "a"), write_model(tmp_path / "b", 1)
    tensors = [(name, "BF16", list(sides)) for name, sides in shapes().items() if name != "model.norm.weight"]
    write_header(second / "model.safetensors", [*tensors, ("model.norm.weight", kind, shape or [16])])
    if words is None:
        check(first, second)
        return
    with pytest.raises(UserError) as error:
        check(first, second)
    assert str(error.value).startswith("merge.models[1]=")
    for word in words:
        assert word in str(error.value), str(error.value)


def run_of(folder: Path, chat: str = "tulu", **keys: Any) -> RunDir:
    """A run whose model was trained with this markup."""
    run = RunDir(folder)
    write_model(run.model, chat=chat)
    config = merge_config(folder, MergeConfig(method="linear", models=["x/a", "x/b"]), chat=chat, **keys)
    config.merge = MergeConfig()
    run.config.write_text(to_yaml(config))
    return run


def test_runs_of_other_markups_and_runs_without_a_model(tmp_path: Path) -> None:
    first, second = run_of(tmp_path / "a"), run_of(tmp_path / "b", "llama2")
    with pytest.raises(
        UserError, match=r"merge\.models\[1\]=.*/b was trained with model\.chat=llama2, .*=tulu, that of"
    ):
        check(first.root, second.root)
    with pytest.raises(UserError, match=r"\[1\]=.*/b/model was trained with model\.chat=llama2"):
        check(first.root, second.model)
    merge = MergeConfig(method="linear", models=[str(first.root)] * 2)
    with pytest.raises(UserError, match=r"\[0\]=.*model\.chat=tulu, and .* model\.chat=llama3, that of"):
        mergeable.check(merge, model(first.root, "llama3"))
    (tmp_path / "c").mkdir()
    RunDir(tmp_path / "c").config.write_text(first.config.read_text())
    with pytest.raises(UserError, match=r"\[1\]=.*/c is a run without a model"):
        check(first.root, tmp_path / "c")
    with pytest.raises(UserError, match=r"\[1\]=.*/typo is neither an existing folder nor an id"):
        check(first.root, tmp_path / "typo")
    with pytest.raises(UserError, match=r"\[1\]=.*/d is an adapter without the model"):
        (tmp_path / "d").mkdir()
        (tmp_path / "d/adapter_config.json").write_text("{}")
        check(first.root, tmp_path / "d")


def test_a_base_may_lack_tokens_and_a_template(tmp_path: Path) -> None:
    first, second, base = (write_model(tmp_path / name, place) for place, name in enumerate(("a", "b", "base")))
    for folder in (first, second):
        changed(folder, "tokenizer.json", lambda v: v["added_tokens"].append({"id": 2047, "content": "<x>"}))
    (base / "chat_template.jinja").write_text("{{ 'other' }}")
    merge = MergeConfig(method="ties", models=[str(first), str(second)], base=str(base), density=0.5)
    mergeable.check(merge, model(first))
    changed(base, "tokenizer.json", another_token)
    with pytest.raises(UserError, match=r"merge\.base=.*: its tokenizer\.json has"):
        mergeable.check(merge, model(first))


def test_files_may_be_cut_otherwise_and_a_tied_output_layer_is_left_out(tmp_path: Path) -> None:
    weights = random_weights(1, BF16)
    head = {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    first = write_model(tmp_path / "a", files=3)
    second = write_model(tmp_path / "b", weights={**weights, **head})
    parents = mergeable.parents_of(MergeConfig(method="linear", models=[str(first), str(second)]))
    found = mergeable.layout(parents, "bfloat16")
    assert set(found.tensors) == set(shapes()) and [name for name, *_ in found.tied] == [str(parents[1])]
    for folder in (first, second):
        changed(folder, "config.json", lambda values: values.update(tie_word_embeddings=False))
    with pytest.raises(UserError, match=r"\[1\]=.* has the tensor lm_head\.weight, and merge\.models\[0\]=.* has none"):
        mergeable.layout(parents, "bfloat16")


def test_types_of_the_merged_weights(tmp_path: Path) -> None:
    """Weights in float32 beside many in bf16 stay so, such as routers; buffers are copied."""
    narrow = {**random_weights(0, BF16), "model.router.weight": torch.ones(4), "model.position_ids": torch.arange(3)}
    wide = {
        **random_weights(1, torch.float32),
        "model.router.weight": torch.ones(4),
        "model.position_ids": torch.arange(3),
    }
    first, second = write_model(tmp_path / "a", weights=narrow), write_model(tmp_path / "b", weights=wide)
    parents = mergeable.parents_of(MergeConfig(method="linear", models=[str(first), str(second)]))
    found = mergeable.layout(parents, "float16").tensors
    assert {found[name].dtype for name in shapes()} == {"F16"}
    assert found["model.router.weight"].dtype == "F32" and not found["model.router.weight"].copied
    assert found["model.position_ids"].dtype == "I64" and found["model.position_ids"].copied


def test_70b_is_planned_from_headers_of_sparse_files(composed: Any, tmp_path: Path) -> None:
    """Fifteen shards of 140 GB with holes in the place of weights: nothing of them is read."""
    about = {"hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672, "vocab_size": 32000}
    tensors = [
        ("model.embed_tokens.weight", [32000, 8192]),
        ("lm_head.weight", [32000, 8192]),
        ("model.norm.weight", [8192]),
    ]
    for layer in range(80):
        above = f"model.layers.{layer}."
        for name, shape in (("q", [8192, 8192]), ("k", [1024, 8192]), ("v", [1024, 8192]), ("o", [8192, 8192])):
            tensors.append((f"{above}self_attn.{name}_proj.weight", shape))
        for name, shape in (("gate", [28672, 8192]), ("up", [28672, 8192]), ("down", [8192, 28672])):
            tensors.append((f"{above}mlp.{name}_proj.weight", shape))
        tensors += [(f"{above}{name}_layernorm.weight", [8192]) for name in ("input", "post_attention")]
    for name in ("a", "b"):
        folder = write_model(tmp_path / name, tie_word_embeddings=False, **about)
        (folder / "model.safetensors").unlink()
        files = {f"model-{place:05d}-of-00015.safetensors": tensors[place::15] for place in range(15)}
        for file, inside in files.items():
            write_header(folder / file, [(key, "BF16", shape) for key, shape in inside])
        where = {key: file for file, inside in files.items() for key, _ in inside}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    config: Config = composed(
        "merge=linear",
        f"merge.models=[{tmp_path}/a,{tmp_path}/b]",
        "merge.weights=[1,3]",
        "model=llama2_70b",
        "name=m",
        f"run_dir={tmp_path}/m",
        "stages=[merge]",
    )
    mergeable.check(config.merge, config.model)
    planned = plan.make(config)
    [line] = [line for line in plan.lines(config, planned) if line.startswith("merge ")]
    assert f"linear of {tmp_path}/a 25 %, {tmp_path}/b 75 %; 128.5 GiB on disk, about 1 GiB of memory, no GPU" in line
    assert merging.merged_gib(config) == pytest.approx(68_976_648_192 * 2 / 2**30)
    full = [problem for problem in preflight.problems(config, planned) if "the merged model needs" in problem]
    assert len(full) == (shutil.disk_usage(tmp_path).free < 128.5 * 2**30)


@pytest.mark.shows("W8")
def test_a_strangers_folder_is_read_by_headers_and_numbers(composed: Any, tmp_path: Path) -> None:
    first, second = write_model(tmp_path / "a"), write_model(tmp_path / "b", 1, files=2)
    index = second / "model.safetensors.index.json"
    for name in ("../a/model.safetensors", "/etc/passwd", "nothing.safetensors", 7):
        index.write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
        with pytest.raises(UserError, match=r"merge\.models\[1\]=.*(is not there|index\.json is damaged)"):
            check(first, second)
    for name, dtype in (("model.norm.weight", ["BF16"]), ("model.norm.weight", None), ("\ud800", "BF16")):
        content = json.dumps({name: {"dtype": dtype, "shape": [16], "data_offsets": [0, 32]}}).encode()
        (second / "model.safetensors").write_bytes(len(content).to_bytes(8, "little") + content + bytes(32))
        with pytest.raises(UserError, match=r"merge\.models\[1\]=.*its header is damaged"):
            check(first, second)
    for offsets in ([0, 2**62], [-4, 28], [16, 0], [0, 30], "x", [0], None):
        header = {"model.norm.weight": {"dtype": "BF16", "shape": [16], "data_offsets": offsets}}
        content = json.dumps(header).encode()
        (second / "model.safetensors").write_bytes(len(content).to_bytes(8, "little") + content + bytes(32))
        with pytest.raises(
            UserError, match=r"merge\.models\[1\]=.*model\.safetensors: (its header is damaged|it is cut off)"
        ):
            check(first, second)
    run = run_of(tmp_path / "run", trust_remote_code=True, chat_arguments={})
    run.config.write_text(run.config.read_text().replace("thinking: null", "thinking: none"))
    config: Config = composed("merge=linear", f"merge.models=[{run.root},{run.root}]", "name=m")
    assert config.model.trust_remote_code is False
    assert (config.model.chat, config.model.path, config.model.dtype) == ("tulu", str(run.model), "bfloat16")


def test_a_run_does_not_merge_its_own_model(composed: Any, tmp_path: Path) -> None:
    run = run_of(tmp_path / "a")
    other = write_model(tmp_path / "b", 1)
    typed = ("merge=linear", f"merge.models=[{other},{run.root}]", "name=a", f"run_dir={run.root}", "stages=[merge]")
    [problem] = files.own_outputs(composed(*typed))
    assert problem.startswith(f"merge.models[1]={run.model} is an output of this run") and "name=" in problem
    assert list(files.own_outputs(composed(*typed, f"run_dir={tmp_path}/c"))) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["merge=linear"], "merge.models, which names none"),
        (["merge=linear", "merge.models=[x/a]"], "merge=linear needs 2 models or more, and merge.models has 1"),
        (["merge=slerp", "merge.models=[x/a,x/b,x/c]"], "merge=slerp takes two models, and merge.models has 3"),
        (["merge=linear", "merge.models=[x/a,x/b]", "merge.weights=[1]"], "merge.weights has 1 number for 2"),
        (["merge=linear", "merge.models=[x/a,x/b]", "merge.weights=[1,-1]"], "merge.weights=-1.0 must be at least 0"),
        (["merge=linear", "merge.models=[x/a,x/b]", "merge.weights=[1,nan]"], "merge.weights=nan must be a number"),
        (["merge=linear", "merge.models=[x/a,x/b]", "merge.weights=[0,0]"], "are all 0"),
        (["merge=ties", "merge.models=[x/a,x/b]"], "merge=ties needs merge.base"),
        (["merge=dare", "merge.models=[x/a]", "merge.base=x/c", "merge.seed=null"], "needs merge.seed"),
        (
            ["merge=dare", "merge.models=[x/a]", "merge.base=x/c", "merge.density=0"],
            "merge.density=0.0 must be above 0",
        ),
        (["merge=linear", "merge.models=[x/a,x/b]", "merge.base=x/c"], "merge.base=x/c is for merge=ties and"),
        (["merge=slerp", "merge.models=[x/a,x/b]", "merge.seed=1"], "merge=slerp draws nothing"),
        (["merge=linear", "merge.models=[x/a,x/b]", "train=full"], "makes the model of merge.models, and train=full"),
        (["merge=linear", "merge.models=[x/a,x/b]", "eval.model=x/c"], "eval.model=x/c would answer instead"),
        (["merge=linear", "merge.models=[x/a,x/b]", "engine=openai"], "none has the model that this run merges"),
        (["merge.models=[x/a,x/b]"], "merge.models is given and no method: choose merge=linear"),
        (["model=merged", "train=none"], "merge.models, which names none"),
    ],
)
def test_what_cannot_be_typed(overrides: list[str], words: str, composed: Any) -> None:
    with pytest.raises(UserError) as error:
        composed(*overrides)
    assert words in str(error.value)


def test_shares_and_names(composed: Any) -> None:
    config = composed("merge=linear", "merge.models=[x/a,x/b,x/c]", "merge.weights=[1,0,3]")
    assert config.merge.shares == [0.25, 0.0, 0.75]
    assert config.active_stages == ["merge", "predict", "score", "report"] and config.makes_model
    assert composed("merge=slerp", "merge.models=[x/a,x/b]").merge.shares == [0.5, 0.5]
    typed = ["experiment=merge_curve", "merge.models=[runs/a,runs/b/model]", "merge.weights=[0,1]", "train=none"]
    assert run_name(typed, {"merge": "linear", "train": "none"}) == "merge_curve-a+b-model-w0+1"
