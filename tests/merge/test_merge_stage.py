"""The stage: what it writes loads as its parents do, goes on after a kill, and no half of it is taken for whole."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from merge_models import frozen_run, merge_config, random_weights, weights_of, write_model

from sciriff.config import SAMPLE, Config, MergeConfig, ModelConfig, load
from sciriff.driver.stages import STAGES
from sciriff.merge import write
from sciriff.merge.__main__ import main
from sciriff.merge.tensor_stream import ShardWriter
from sciriff.models import mergeable
from sciriff.models.loading import load_model, load_tokenizer
from sciriff.run.digest import tree_digest
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError


@pytest.fixture
def parents(tmp_path: Path) -> list[str]:
    """Two models in bf16, one of them in three files."""
    return [str(write_model(tmp_path / "a", 1)), str(write_model(tmp_path / "b", 2, files=3))]


def merged(config: Config) -> RunDir:
    run = frozen_run(config)
    main(config, run)
    return run


def test_a_merged_model_is_a_plain_folder_with_its_card(parents: list[str], tmp_path: Path) -> None:
    config = merge_config(tmp_path / "m", MergeConfig(method="linear", models=parents, weights=[1, 3]))
    run = merged(config)
    first, second = (weights_of(Path(folder)) for folder in parents)
    wanted = {name: (0.25 * first[name].float() + 0.75 * second[name].float()).bfloat16() for name in first}
    found = weights_of(run.model)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    files = sorted(file.name for file in run.model.iterdir())
    assert files == [
        *("README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    ]
    model = ModelConfig(name="m", path=str(run.model), chat="tulu")
    loaded = load_model(model, seed=0, dtype=torch.bfloat16)
    assert loaded.dtype == torch.bfloat16 and loaded.config.architectures == ["LlamaForCausalLM"]
    assert torch.equal(loaded.lm_head.weight, wanted["model.embed_tokens.weight"]), "tied as its parents are"
    assert load_tokenizer(model).chat_template == load_tokenizer(config.model).chat_template
    assert json.loads((run.model / "generation_config.json").read_text())["eos_token_id"]
    card = (run.model / "README.md").read_text()
    assert "| a | 0.25 | – | – | unknown |" in card and "| b | 0.75 |" in card and "| method | linear |" in card
    assert str(tmp_path) not in card, "no path of this machine"
    assert not run.partial_model.exists()


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_the_ends_of_a_curve_are_the_models_themselves(method: str, parents: list[str], tmp_path: Path) -> None:
    for weights, folder in (([0, 1], parents[1]), ([5, 0], parents[0])):
        run = merged(
            merge_config(tmp_path / f"{weights[0]}", MergeConfig(method=method, models=parents, weights=weights))
        )
        found, wanted = weights_of(run.model), weights_of(Path(folder))
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("method", ["ties", "dare"])
def test_methods_with_a_base_repeat_themselves_to_the_byte(method: str, parents: list[str], tmp_path: Path) -> None:
    base = str(write_model(tmp_path / "base", 3, chat=None))

    def digest(name: str, seed: int) -> str:
        settings = {"seed": seed} if method == "dare" else {}
        merge = MergeConfig(method=method, models=parents, base=base, density=0.3, **settings)
        return tree_digest(merged(merge_config(tmp_path / name / "m", merge)).model)

    assert digest("one", 1) == digest("two", 1)
    assert (digest("three", 2) != digest("one", 1)) == (method == "dare")


class Killed(BaseException):
    """The process ended here."""


def test_a_killed_merge_goes_on_with_the_next_file(
    parents: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(write, "SHARD", 2_000)
    config = merge_config(tmp_path / "m", MergeConfig(method="linear", models=parents))
    run, finish, finished = frozen_run(config), ShardWriter.finish, []

    def killed_in_the_third(writer: ShardWriter) -> None:
        if len(finished) == 2:
            raise Killed
        finished.append(writer)
        finish(writer)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ShardWriter, "finish", killed_in_the_third)
        main(config, run)
    assert not run.model.exists(), "no half model is taken for whole"
    before = {file.name: file.stat().st_mtime_ns for file in run.partial_model.glob("*.safetensors")}
    assert len(before) == 3
    main(config, run)
    assert "in 2 files were merged before and are kept" in capsys.readouterr().out
    after = {file.name: file.stat().st_mtime_ns for file in run.model.glob("*.safetensors")}
    assert sum(after[name] == time for name, time in before.items()) == 2 and len(after) > 3
    whole = merged(merge_config(tmp_path / "whole/m", config.merge))
    assert tree_digest(whole.model) == tree_digest(run.model)
    load_model(ModelConfig(name="m", path=str(run.model), chat="tulu"), seed=0, dtype=torch.bfloat16)
    run.model.rename(run.partial_model)  # as a kill before the last rename would leave it, less the record
    os.utime(Path(parents[0]) / "model.safetensors", (1, 1))
    main(config, run)
    assert "merged before" not in capsys.readouterr().out and run.model.is_dir(), "of other models nothing is kept"


def test_what_reads_back_differently_is_named(
    parents: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = merge_config(tmp_path / "m", MergeConfig(method="linear", models=parents))
    run, finish = frozen_run(config), ShardWriter.finish

    def damaged(writer: ShardWriter) -> None:
        finish(writer)
        file = run.partial_model / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "finish", damaged)
        with pytest.raises(UserError, match=r"model\.norm\.weight|weight reads back differently from what was merged"):
            main(config, run)
    assert not run.model.exists()
    main(config, run)
    assert run.model.is_dir(), "the damaged file was not kept"


def test_a_config_of_which_no_model_can_be_made_is_named(tmp_path: Path) -> None:
    for number, about in enumerate(({"hidden_size": None}, {"num_attention_heads": 0}, {"hidden_act": "x"})):
        models = [str(write_model(tmp_path / f"{number}{name}", **about)) for name in "ab"]
        config = merge_config(tmp_path / f"m{number}", MergeConfig(method="linear", models=models))
        with pytest.raises(UserError, match=r"merge\.models\[0\]=.*cannot be loaded"):
            merged(config)
        assert not RunDir(Path(config.run_dir)).partial_model.exists(), "before any weight is read"


def test_a_tensor_without_numbers_is_merged(tmp_path: Path) -> None:
    weights = {**random_weights(1, torch.bfloat16), "model.none.weight": torch.zeros(0, 4, dtype=torch.bfloat16)}
    models = [str(write_model(tmp_path / name, weights=weights)) for name in "abc"]
    run = merged(
        merge_config(tmp_path / "m", MergeConfig(method="ties", models=models[:2], base=models[2], density=0.5))
    )
    assert weights_of(run.model)["model.none.weight"].shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w["model.norm.weight"].fill_(float("inf")),
            r"model\.norm\.weight: merged as bfloat16, it has numbers",
        ),
        (
            lambda w: w.update({"model.ids": torch.tensor([1, 3])}),
            r"merge\.models\[1\]=.*model\.ids differs from that of",
        ),
        (
            lambda w: w.update({"lm_head.weight": torch.zeros_like(w["model.embed_tokens.weight"])}),
            r"merge\.models\[1\]=.*says tie_word_embeddings, and the output layer in model\.safetensors is not",
        ),
    ],
    ids=["not finite", "a buffer", "not tied"],
)
def test_what_only_the_weights_show_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    ids = {"model.ids": torch.tensor([1, 2])} if "ids" in message else {}
    first = write_model(tmp_path / "a", weights={**random_weights(1, torch.bfloat16), **ids})
    weights = {**random_weights(2, torch.bfloat16), **ids}
    change(weights)
    second = write_model(tmp_path / "b", weights=weights)
    config = merge_config(tmp_path / "m", MergeConfig(method="linear", models=[str(first), str(second)]))
    with pytest.raises(UserError, match=message):
        merged(config)
    assert not RunDir(Path(config.run_dir)).model.exists()


def test_what_makes_the_stage_run_again(parents: list[str], tmp_path: Path) -> None:
    def inputs(folder: str = "m", dtype: str = "bfloat16", **merge: Any) -> dict[str, str]:
        settings = {"method": "linear", "models": parents, "weights": [1, 1], **merge}
        config = merge_config(tmp_path / folder, MergeConfig(**settings), dtype=dtype)
        return STAGES["merge"].inputs(config, RunDir(Path(config.run_dir)))

    before = inputs()
    assert inputs("elsewhere") == inputs(weights=[2, 2]) == inputs(weights=None) == before
    for other in (
        inputs(weights=[1, 2]),
        inputs(models=parents[::-1]),
        inputs(dtype="float32"),
        inputs(method="slerp"),
    ):
        assert other != before
    os.utime(Path(parents[1]) / "model-00001-of-00003.safetensors", (1, 1))
    assert inputs() != before


def test_a_model_of_the_hubs_cache_is_a_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    stored = tmp_path / "hub/models--someone--general"
    snapshot = write_model(stored / "snapshots" / ("0" * 40), 2)
    (stored / "refs").mkdir()
    (stored / "refs/main").write_text("0" * 40)
    first = write_model(tmp_path / "a", 1)
    (snapshot / "README.md").write_text("---\nlicense: llama2\n---\n")
    run = merged(merge_config(tmp_path / "m", MergeConfig(method="linear", models=[str(first), "someone/general"])))
    one, other = weights_of(first), weights_of(snapshot)
    found = weights_of(run.model)
    assert all(torch.equal(found[name], ((one[name].float() + other[name].float()) / 2).bfloat16()) for name in one)
    card = (run.model / "README.md").read_text()
    assert "base_model:\n- someone/general\nbase_model_relation: merge\n" in card and "license:" not in card
    assert "| someone/general | 0.5 | – | – | llama2 |" in card
    (snapshot / "config.json").write_text((snapshot / "config.json").read_text().replace("10000.0", "20000.0"))
    config = merge_config(tmp_path / "n", MergeConfig(method="linear", models=[str(first), "someone/general"]))
    with pytest.raises(UserError, match=r"merge\.models\[1\]=someone/general: its config\.json has .*=20000\.0, and"):
        merged(config)
    config.merge.models[1] = "someone/else"
    with pytest.raises(UserError, match=r"merge\.models\[1\]=someone/else is neither a local folder nor in the hub's"):
        merged(config)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gemma3", "qwen3_moe"])
def test_towers_and_experts_are_merged(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names of the file, whatever this transformers fuses when it loads them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import tiny_families

    for seed, name in enumerate("ab"):
        tiny_families.save(family, tmp_path / name, SAMPLE / "tokenizer", seed=seed)
    models = [str(tmp_path / name) for name in "ab"]
    config = merge_config(tmp_path / "m", MergeConfig(method="slerp", models=models), dtype="float32")
    mergeable.check(config.merge, config.model)
    run = merged(config)
    found, one, other = (weights_of(folder) for folder in (run.model, tmp_path / "a", tmp_path / "b"))
    inside = [name for name in found if ("vision_tower" if family == "gemma3" else "experts") in name]
    assert found.keys() == one.keys() and len(inside) > 8
    assert any(not torch.equal(found[name], one[name]) and not torch.equal(found[name], other[name]) for name in inside)
    load_model(ModelConfig(name="m", path=str(run.model), chat="tulu"), seed=0, dtype=torch.float32)


@pytest.mark.slow
def test_a_curve_from_two_runs_to_its_page(cli: Any, parents: list[str], tmp_path: Path) -> None:
    """The command as it is typed: two ends of a curve are merged, asked and scored, and the page draws them; the same
    command again finds all of it up to date."""
    command = [
        *("-m", "merge=linear", f"merge.models=[{parents[0]},{parents[1]}]", "merge.weights=[0,1],[1,0]"),
        *("model=tiny", "model.shape.context=256", "model.dtype=bfloat16", "engine=transformers", "eval=sample"),
        *("eval.limit=1", "eval.max_new_tokens=4", "eval.tasks=[biored_ner,scifact_entailment]"),
        *("stages=[merge,predict,score]", "log=none", "cache_dir=cache"),
    ]
    first = cli(*command)
    assert first.returncode == 0, first.stderr
    runs = {tuple(load(file).merge.shares): RunDir(file.parent) for file in tmp_path.glob("runs/*/config.yaml")}
    assert len(runs) == 2 and all(run.root.name.startswith("tiny-") for run in runs.values())
    for shares, folder in (((0, 1), parents[1]), ((1, 0), parents[0])):
        found = weights_of(runs[shares].model)
        assert all(torch.equal(found[name], weight) for name, weight in weights_of(Path(folder)).items())
        assert runs[shares].scores.is_file()
    [page] = tmp_path.glob("runs/sweep-*/sweep.html")
    assert "0 % of a" in page.read_text() and "100 % of a" in page.read_text()
    again = cli(*command)
    assert again.stderr.count("merge: up to date") == again.stderr.count("predict: up to date") == 2, again.stderr


def test_a_weight_that_no_model_has_is_noticed(tmp_path: Path) -> None:
    """Both models lack one, so their files agree, and transformers would draw it at random."""
    weights = random_weights(1, torch.bfloat16)
    del weights["model.layers.1.mlp.up_proj.weight"]
    models = [str(write_model(tmp_path / name, weights=weights)) for name in "ab"]
    config = merge_config(tmp_path / "m", MergeConfig(method="linear", models=models))
    with pytest.raises(UserError, match=r"the merged model lacks model\.layers\.1\.mlp\.up_proj\.weight"):
        merged(config)
    assert not RunDir(Path(config.run_dir)).model.exists()
