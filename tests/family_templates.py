"""Chat templates of model families, read from the installed package trl, and a tokenizer with their tokens."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_TRL = find_spec("trl")  # which finds the package without importing it
FOLDER = Path(next(iter(_TRL.submodule_search_locations or ()), "")) / "chat_templates" if _TRL else None
NEEDED = pytest.mark.skipif(FOLDER is None, reason="needs the package trl, which has the templates of families")
FAMILIES = sorted(path.stem for path in FOLDER.glob("*.jinja")) if FOLDER else []
_TOKEN = re.compile(r"<\|?[/\w｜▁|:-]+\|?>|\[/?[A-Z_]+\]")
_ORDINARY = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tools>", "</tools>")
"""Added tokens that Qwen3's tokenizer does not call special."""


def template_text(family: str) -> str:
    assert FOLDER is not None
    return (FOLDER / f"{family}.jinja").read_text(encoding="utf-8")


@cache
def _alphabet() -> str:
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(bytes_)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


def family_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes with the tokens that a family's template writes, and that template."""
    text = template_text(family)
    tokenizer = Tokenizer.from_str(_alphabet())
    names = [name for name in dict.fromkeys(_TOKEN.findall(text)) if name not in _ORDINARY]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ["<s>", "</s>", *names]])
    tokenizer.add_tokens([AddedToken(name, special=False) for name in _ORDINARY])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        chat_template=text,
        clean_up_tokenization_spaces=False,
    )
