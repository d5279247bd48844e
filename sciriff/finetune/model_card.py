"""README.md of a finished model: base model, data, recipe, losses and licences.

It begins with YAML for the Hugging Face hub (huggingface.co/docs/hub/model-cards) and names no local path.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from sciriff.config import Config, ModelConfig, SourceConfig, as_dict
from sciriff.config.plain_yaml import written
from sciriff.data.mix_card import MixCard, MixPart, read_mix_card
from sciriff.data.training_metrics import HALVES, TASK_MEAN, read_metrics, series, task_columns
from sciriff.models.license import license_of, named_license
from sciriff.results.markdown_table import code_kept, markdown_table
from sciriff.run import machine
from sciriff.run.run_dir import RunDir

PACKAGES = ("python", "sciriff", "torch", "transformers", "accelerate", "deepspeed", "peft", "bitsandbytes")
"""Packages whose versions can change what is learnt."""

_table = partial(markdown_table, escape=code_kept)


def page(config: Config, run: RunDir, step: int, *, of_adapter: bool = False) -> str:
    """Return the Markdown card of RUN/model or RUN/adapter, whose weights are those after `step` optimizer steps."""
    mix = read_mix_card(run.mix_card) if run.mix_card.is_file() else None
    base = config.model.hub_id or ("a local folder" if config.model.path else "random weights")
    what = {"full": "All weights were trained.", "lora": _lora(config), "qlora": _lora(config)}[config.train.method]
    if config.train.neftune_alpha is not None:
        what += f" Embeddings had noise in training (NEFTune, alpha {config.train.neftune_alpha:g}, arXiv 2310.05914)."
    facts = [
        ("base model", config.model.name),
        ("weights", f"{base}, revision {config.model.revision}" if config.model.revision else base),
        ("licence of the base model", license_of(config.model) or "unknown"),
        ("chat markup", config.model.chat),
        *_template_facts(config.model),
        ("type of the weights", "as trained" if of_adapter else config.model.dtype),
    ]
    sections = [
        f"---\n{written(front_matter(config, mix, of_adapter))}---",
        f"# {config.name}",
        f"{config.model.name}, fine-tuned with sciriff on the mix {config.mix.name}. {what}",
        _use(config, of_adapter),
        _table(("", ""), facts),
        "## Data",
        *_data(config, mix),
        "## Loss",
        *_losses(run.metrics, step),
        "## Recipe",
        _table(("key", "value"), _recipe(config)),
        "## Versions",
        _table(("package", "version"), [pair for pair in machine.versions().items() if pair[0] in PACKAGES]),
    ]
    return "\n\n".join(sections) + "\n"


def _template_facts(model: ModelConfig) -> list[tuple[str, str]]:
    """What the tokenizer's template was told; chat_template.jinja of the folder has it as its defaults."""
    if model.chat != "tokenizer":
        return []
    facts = [("day that its template saw as today, if it asks", model.chat_settings.date)]
    if model.chat_arguments:
        arguments = ", ".join(f"{name}={value}" for name, value in sorted(model.chat_arguments.items()))
        facts.append(("arguments of its template, now their defaults", arguments))
    return facts


def front_matter(config: Config, mix: MixCard | None, of_adapter: bool) -> dict[str, Any]:
    """Return the YAML head for the hub; unknown values are left out."""
    head: dict[str, Any] = {}
    if (base := config.model.hub_id) is not None:
        head |= {"base_model": base, "base_model_relation": "adapter" if of_adapter else "finetune"}
    head |= {"library_name": "peft" if of_adapter else "transformers", "pipeline_tag": "text-generation"}
    if datasets := [hub for name in (mix["licenses"] if mix else ()) if (hub := _dataset(config, name)) is not None]:
        head["datasets"] = datasets
    if (name := license_of(config.model)) is not None:
        head |= named_license(name)
    return {**head, "tags": ["sciriff", "scientific-literature", config.train.method]}


def _lora(config: Config) -> str:
    how = f"The base model's weights were frozen; adapters beside its layers ({_variant(config)}) were trained"
    if config.train.method == "lora":
        return f"{how}. The run's folder `model` has them merged into the weights, its folder `adapter` has them alone."
    return (
        f"{how} on weights quantised to four bits (QLoRA, NF4 with double quantisation). The merged weights are the "
        f"dequantised four-bit weights plus the adapters, in {config.model.dtype}; they differ from the base model's "
        "own by the quantisation error."
    )


def _variant(config: Config) -> str:
    """Return the name of what was trained, with the sources of its variants."""
    train = config.train
    names = {
        "rslora": "rank-stabilised LoRA, arXiv 2312.03732",
        "dora": "DoRA, arXiv 2402.09353",
        "pissa": "LoRA begun as PiSSA, arXiv 2404.02948",
    }
    name = names.get(train.lora_variant or "", "LoRA")
    plus = "" if train.lora_plus_ratio is None else f"; LoRA+ with ratio {train.lora_plus_ratio:g}, arXiv 2402.12354"
    return name + plus


def _use(config: Config, of_adapter: bool) -> str:
    if not of_adapter:
        return "It loads with transformers and vLLM like any other model; its tokenizer renders the markup of training."
    base = config.model.hub_id or "the base model"
    how = ", loaded in four bits (NF4, double quantisation)" if config.train.method == "qlora" else ""
    text = f"An adapter for {base}{how}: `PeftModel.from_pretrained(base, folder)`. The merged model needs no peft."
    if config.train.lora_variant == "pissa":
        text += (
            f" PiSSA trained adapters of rank {config.train.lora_rank} beside what it left of the weights. Here they "
            "are a plain adapter of twice that rank for the published weights: the trained product less the first one."
        )
    return text


def _data(config: Config, mix: MixCard | None) -> Iterable[str]:
    if mix is None:
        return ["The mix has no card."]
    parts: dict[str, MixPart] = {**mix["by_source"], "all": mix}
    rows = [(name, p["rows"], p["prompt_tokens"]["sum"], p["target_tokens"]["sum"]) for name, p in parts.items()]
    sources = [(name, _dataset(config, name) or "local files", terms) for name, terms in mix["licenses"].items()]
    return [
        _table(("rows of", "rows", "prompt tokens", "target tokens"), rows),
        _table(("source", "from", "licence"), sources),
        f"SHA-256 of the mix: `{mix['digest']}`.",
    ]


def _dataset(config: Config, name: str) -> str | None:
    """Return the hub id of a source of the mix; None if local files replace it."""
    source: SourceConfig | None = config.mix.sources.get(name)
    return None if source is None or source.path is not None or config.mix.path is not None else source.hub


def _losses(metrics: Path, step: int) -> Iterable[str]:
    """Mean cross entropy per target token in nats: of the model after `step` steps, and the other validation losses."""
    rows = read_metrics(metrics)
    trained = next(row for row in rows if "loss" in row and row["step"] == step)
    if step < trained["steps"]:
        why = "the mean of its tasks' scores" if series(rows, TASK_MEAN) else "its validation loss"
        yield f"Kept for {why} (`train.keep=best`): the model after step {step} of {trained['steps']}."
    losses = [(f"training, step {step} of {trained['steps']}", f"{trained['loss']:.4f}")]
    for half in HALVES:
        key = f"validation_{half}_loss"
        measured = [(loss, at) for at, loss in series(rows, key)]
        shown = {"this model": [pair for pair in measured if pair[1] == step], "last": measured[-1:]}
        for what, pairs in (shown | {"lowest": [min(measured)] if measured else []}).items():
            for loss, at in pairs:
                if what == "this model" or at != step:
                    losses.append((f"validation, {half} rows, {what}, after step {at}", f"{loss:.4f}"))
    yield _table(("mean cross entropy of a target token (nats)", ""), losses)
    if scores := [(f"after step {at}", f"{mean:.4f}") for at, mean in series(rows, TASK_MEAN)]:
        yield _table(
            (f"mean of {len(task_columns(rows))} scores of tasks on the prompts that it was chosen by", ""), scores
        )


def _recipe(config: Config) -> list[tuple[str, str]]:
    """Every training setting that has a value. No value is a path."""
    train = {key: value for key, value in as_dict(config.train).items() if value is not None}
    keys = {f"train.{key}": value for key, value in train.items()}
    keys |= {"deepspeed.zero_stage": config.deepspeed.zero_stage, "seed": config.seed}
    return [(key, f"`{value}`") for key, value in keys.items()]
