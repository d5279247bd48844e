"""The folder of the finished model: what is verified before it counts, and its card."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_runs import Compose, finetune, make_run, tiny_model

from sciriff import config as configuration
from sciriff.config import SAMPLE, Config, MixSourceConfig
from sciriff.finetune import model_card
from sciriff.models import verification
from sciriff.models.loading import load_model
from sciriff.run.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Compose], RunDir]:
    """One run for all tests, made by the first of them."""
    root = tmp_path_factory.mktemp("finished") / "run"

    def once(composed: Compose) -> RunDir:
        return RunDir(root) if root.exists() else finetune(make_run(composed, root, max_steps=2))

    return once


@pytest.fixture
def run(finished: Callable[[Compose], RunDir], composed: Compose, tmp_path: Path) -> RunDir:
    """A copy that a test may damage."""
    shutil.copytree(finished(composed).root, tmp_path / "copy")
    return RunDir(tmp_path / "copy")


def trained(run: RunDir) -> dict[str, verification.Digest]:
    return verification.digests(load_model(tiny_model(path=str(run.model)), seed=0, dtype=torch.float32).state_dict())


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_weight_that_differs_by_one_bit_is_named(run: RunDir) -> None:
    digests, file = trained(run), run.model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"model: model\..*weight reads back differently from what was trained"):
        verification.reload(tiny_model(), run.model, digests)


def test_a_weight_that_is_missing_is_named(run: RunDir) -> None:
    digests = {**trained(run), "model.layers.2.mlp.up_proj.weight": verification.Digest((1,), "0")}
    with pytest.raises(ValueError, match=r"model\.layers\.2\.mlp\.up_proj\.weight was trained but not saved"):
        verification.reload(tiny_model(), run.model, digests)


def test_another_type_is_refused(run: RunDir) -> None:
    digests = trained(run)
    change(run.model / "config.json", dtype="bfloat16")
    with pytest.raises(ValueError, match=r"weights are of type torch\.bfloat16, and model\.dtype=float32"):
        verification.reload(tiny_model(), run.model, digests)


def test_another_chat_template_is_refused(run: RunDir) -> None:
    digests = trained(run)
    for file in (run.model / "chat_template.jinja", run.model / "tokenizer_config.json"):
        if file.is_file() and file.suffix == ".jinja":
            file.write_text(file.read_text().replace("<|", "<"))
    with pytest.raises(ValueError, match=r"its chat template is not that of model\.chat=tulu"):
        verification.reload(tiny_model(), run.model, digests)


def compare(run: RunDir, live: Any, answer: verification.GreedyAnswer) -> None:
    with torch.no_grad():
        logits = live.eval()(torch.tensor([answer.tokens])).logits[0, -answer.length - 1 : -1]
    verification.compare(answer, logits, configuration.load(run.config), run.model)


def test_a_config_that_changes_what_the_weights_compute_is_noticed(run: RunDir) -> None:
    live, digests = load_model(tiny_model(path=str(run.model)), seed=0, dtype=torch.float32), trained(run)
    compare(run, live, verification.reload(tiny_model(), run.model, digests))
    change(run.model / "config.json", rms_norm_eps=0.5)
    with pytest.raises(ValueError, match=r"its logits differ by up to .* from those of the trained model"):
        compare(run, live, verification.reload(tiny_model(), run.model, digests))


def test_an_answer_that_is_not_the_likeliest_is_noticed(run: RunDir) -> None:
    live, digests = load_model(tiny_model(path=str(run.model)), seed=0, dtype=torch.float32), trained(run)
    change(run.model / "generation_config.json", do_sample=True, temperature=2.0)
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=r"its greedy answer is .* that of the trained model"):
        compare(run, live, verification.reload(tiny_model(), run.model, digests))


def head(card: str) -> dict[str, Any]:
    from omegaconf import OmegaConf

    opening, yaml, _ = card.split("---\n", 2)
    assert opening == ""
    values = OmegaConf.to_container(OmegaConf.create(yaml))
    assert isinstance(values, dict)
    return values  # type: ignore[return-value]


def test_the_folder_holds_a_card_and_no_path_of_this_machine(run: RunDir) -> None:
    card = (run.model / "README.md").read_text()
    assert head(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["sciriff", "scientific-literature", "full"],
    }
    assert "| `2` |" in card  # train.max_steps
    assert "| training, step 2 of 2 | 8." in card
    for file in run.model.rglob("*"):
        if file.suffix != ".safetensors":
            for place in (SAMPLE, run.root.parent.parent, Path.home()):
                assert str(place) not in file.read_text(), file


def test_the_config_names_the_class_that_servers_load(run: RunDir) -> None:
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(run.model)
    (name,) = json.loads((run.model / "config.json").read_text())["architectures"]
    assert name == type(loaded).__name__ == "LlamaForCausalLM"


def part(rows: int, prompt_tokens: int, target_tokens: int) -> dict[str, Any]:
    """A part of the mix; the card of a model shows sums only."""
    others = {"mean": 0.0, "median": 0.0, "max": 0}
    sums = {"prompt_tokens": {"sum": prompt_tokens, **others}, "target_tokens": {"sum": target_tokens, **others}}
    return {"rows": rows, "target_share": 0.0, **sums}


MIX_CARD = {
    **part(3000, 50, 9),
    "by_source": {"science": part(2000, 40, 7)},
    "by_dataset": {},
    "longest": [],
    "read": {},
    "commits": {},
    "general_missing": 0,
    "repeated": {},
    "same_text": 0,
    "shortened": 0,
    "read_with_control_characters": {"rows": 0, "first": []},
    "dropped": {},
    "dropped_by_source": {},
    "dropped_by_dataset": {},
    "recipe": {},
    "chat": "tulu",
    "markup_digest": "0",
    "held_out_rows": 0,
    "validation": {"wanted": 0, "digest": None, "compared": False, "by_source": {}},
    "licenses": {"sciriff": "ODC-BY", "tulu": "unknown"},
    "digest": "abc123",
}


def published(run: RunDir, **model: Any) -> Config:
    """Return the config as it would be with a model and data from the hub."""
    config = configuration.load(run.config)
    sources = {
        "sciriff": MixSourceConfig(hub="allenai/SciRIFF"),
        "tulu": MixSourceConfig(hub="x/y", path="/home/someone/rows"),
    }
    settings = {"path": "meta-llama/Llama-2-7b-hf", "license": "llama2", **model}
    return replace(config, model=replace(config.model, **settings), mix=replace(config.mix, sources=sources, path=None))


def test_the_card_says_what_is_known(run: RunDir) -> None:
    run.mix_card.parent.mkdir(exist_ok=True)
    run.mix_card.write_text(json.dumps(MIX_CARD))
    with run.metrics.open("a") as file:
        for step, loss in ((0, 3.5), (1, 1.25), (2, 1.5)):
            file.write(f'{{"step": {step}, "validation_science_loss": {loss}, "validation_general_loss": null}}\n')
    config = published(run)
    train = replace(config.train, method="qlora", lora_rank=4, lora_alpha=8.0, lora_dropout=0.0)
    card = model_card.page(replace(config, train=train), run, 2, of_adapter=True)
    assert head(card) == {
        "base_model": "meta-llama/Llama-2-7b-hf",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "datasets": ["allenai/SciRIFF"],
        "license": "llama2",
        "tags": ["sciriff", "scientific-literature", "qlora"],
    }
    assert "| science | 2,000 | 40 | 7 |" in card
    assert "| sciriff | allenai/SciRIFF | ODC-BY |" in card
    assert "| tulu | local files | unknown |" in card
    assert "`abc123`" in card
    assert "| validation, science rows, this model, after step 2 | 1.5000 |" in card
    assert "| validation, science rows, lowest, after step 1 | 1.2500 |" in card
    assert "general rows" not in card and "rows, last" not in card and "keep=best" not in card
    best = model_card.page(config, run, 1)
    assert "Kept for its validation loss (`train.keep=best`): the model after step 1 of 2." in best
    assert "| training, step 1 of 2 |" in best
    assert "| validation, science rows, this model, after step 1 | 1.2500 |" in best
    assert "| validation, science rows, last, after step 2 | 1.5000 |" in best and "lowest" not in best
    assert "dequantised" in card
    assert "someone" not in card


def test_a_licence_that_the_hub_does_not_know_keeps_its_name(run: RunDir) -> None:
    card = head(model_card.page(published(run, license="ai2-impact-license-low-risk"), run, 2))
    assert (card["license"], card["license_name"]) == ("other", "ai2-impact-license-low-risk")


@pytest.mark.parametrize(
    ("readme", "name"),
    [
        ("---\nlicense: mit\n---\n# x\n", "mit"),
        ("---\nlicense: other\nlicense_name: mine\n---\n", "mine"),
        ("---\nlicense: [\n---\n", None),
        ("---\nlicense: {a: b}\n---\n", None),
        ("no head", None),
        ("---\nlicense: mit", None),
    ],
)
def test_the_licence_of_a_local_folder_is_what_its_card_says(tmp_path: Path, readme: str, name: str | None) -> None:
    (tmp_path / "README.md").write_text(readme)
    assert model_card.license_of(tiny_model(path=str(tmp_path))) == name


@pytest.mark.slow
def test_a_tokenizers_template_is_saved_as_it_was_told(composed: Compose, tmp_path: Path) -> None:
    """Others, who know neither the arguments nor the day, render the prompts of training on every day."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    tokenizer.chat_template = (
        "{{ strftime_now('%Y-%m-%d') }}{% for m in messages %}{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt and not thinks %}<no thought>{% endif %}"
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    told = {"chat_arguments": {"thinks": True}, "chat_date": "2025-03-09"}
    model = tiny_model(chat="tokenizer", tokenizer=str(tmp_path / "tokenizer"), **told)
    run = finetune(make_run(composed, tmp_path / "run", max_steps=1, model=model))
    saved = AutoTokenizer.from_pretrained(run.model)
    asked = [{"role": "user", "content": "Why?"}]
    prompt = saved.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert prompt == "2025-03-09Why?</s>"
    page = (run.model / "README.md").read_text()
    assert "| arguments of its template, now their defaults | thinks=True |" in page and "| 2025-03-09 |" in page
