"""Tokenizers of models that think: the sample's, with the tokens of a family and its real chat template."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from predict_runs import tiny_model
from transformers import AddedToken, AutoTokenizer

from sciriff.config import SAMPLE, ModelConfig
from sciriff.models.loading import load_model

CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
THINK = ("<think>", "</think>")
TOKENS = {
    "qwen3": (CHATML, THINK),
    "qwen3_5_think": (CHATML, THINK),
    "nemotron_3_nano": (CHATML, THINK),
    "deepseek_r1_distill": (
        ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
        THINK,
    ),
    "gptoss": (("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>"), ()),
    "gemma4": (("<bos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>"), ()),
    "cohere": (("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"), ()),
}
"""Template of TRL -> special tokens, and other tokens."""
ENDS = {
    "deepseek_r1_distill": "<｜end▁of▁sentence｜>",
    "gptoss": "<|return|>",
    "gemma4": "<turn|>",
}


def template(name: str) -> str:
    """A family's real chat template, from TRL's wheel, of which nothing is imported."""
    found = find_spec("trl")
    if found is None or found.origin is None:
        pytest.skip("TRL's chat templates are not here")
    return (Path(found.origin).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def tokenizer_like(name: str, *, plain: bool = False) -> Any:
    """A tokenizer with a family's template and special tokens; with `plain` the marks of thoughts are no tokens."""
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    special, others = TOKENS[name]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    if not plain:
        tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in others])
    tokenizer.eos_token = ENDS.get(name, "<|im_end|>")
    tokenizer.chat_template = template(name)
    return tokenizer


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads: of a tiny model one is faster, and much faster on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save_thinker(folder: Path) -> ModelConfig:
    """Save a random model in whose prompts a thought begins, and which ends it sooner or later, or never."""
    tokenizer = tokenizer_like("qwen3_5_think")
    tokenizer.save_pretrained(folder)
    shape = tiny_model(context=512).shape
    assert shape is not None
    shape = replace(shape, vocabulary=len(tokenizer))
    model = load_model(replace(tiny_model(), shape=shape), seed=2, dtype=torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(10)
        embeddings = model.get_input_embeddings().weight
        embeddings[tokenizer.convert_tokens_to_ids("</think>")] *= 2.5
        embeddings[tokenizer.convert_tokens_to_ids("<|im_end|>")] *= 2.25
    model.save_pretrained(folder)
    return ModelConfig(name="thinker", path=str(folder), chat="tokenizer", dtype="float32", shape=shape)
