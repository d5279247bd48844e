"""Tokenizers of models that think: the sample's, with the tokens of a family and its real chat template."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from transformers import AddedToken, AutoTokenizer

from sciriff.config import SAMPLE

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
