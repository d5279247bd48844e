"""Tokens by estimate: pieces that make up the text, and long prompts cut by them."""

import pytest

from sciriff.data.records import Instance
from sciriff.predict.estimated_tokens import EstimatedTokens, pieces
from sciriff.predict.prompts import CUT, SERVERS, make_prompt

TOKENS = EstimatedTokens()


@pytest.mark.parametrize(
    "text", ["", "a", "abc", "abcd" * 10, "naïve café", "语言模型", "\0\0x\0", "a\U0001f600b", "x\ud800y"]
)
def test_pieces_make_up_the_text(text: str):
    encoded = TOKENS(text)
    assert "".join(text[start:end] for start, end in encoded["offset_mapping"]) == text
    assert TOKENS.decode(encoded["input_ids"]) == text
    sizes = [len(text[start:end].encode("utf-8", "surrogatepass")) for start, end in pieces(text)]
    assert all(size <= 4 for size in sizes)


def instance(words: int) -> Instance:
    document = " ".join(f"word{n}" for n in range(words))
    return Instance("scierc_ner", "scierc_ner:v:0", f"Find the names.\n\n{document}\n\nWhich?", "[]")


def test_a_long_prompt_loses_the_middle_of_its_document():
    prompt = make_prompt(instance(500), SERVERS, TOKENS, 300, "middle_of_document")
    assert len(prompt.text.encode()) / 3 <= 300
    assert prompt.text.startswith("Find the names.\n\nword0 ")
    assert prompt.text.endswith("word499\n\nWhich?")
    assert CUT.strip() in prompt.text
    assert prompt.truncated_tokens > 0
    assert make_prompt(instance(5), SERVERS, TOKENS, 300, "error").text == instance(5).prompt


def test_the_other_policies():
    left = make_prompt(instance(500), SERVERS, TOKENS, 100, "left")
    assert left.text == instance(500).prompt[-len(left.text) :]
    assert 295 <= len(left.text) <= 300
    assert make_prompt(instance(500), SERVERS, TOKENS, 100, "skip").skipped
    with pytest.raises(ValueError, match="does not fit the 100"):
        make_prompt(instance(500), SERVERS, TOKENS, 100, "error")
