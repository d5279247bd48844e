"""A prompt is the prefix that training saw; one that is too long loses its document's middle and nothing else."""

from typing import Any

import pytest
from predict_runs import tiny_model

from sciriff import chat
from sciriff.predict.prompts import CUT, Prompt, make_prompt, room_for_prompt
from sciriff.pretrained import load_tokenizer
from sciriff.records import Instance, Message

WORDS = [f"alpha{i} binds receptor{i}" for i in range(400)]
INSTRUCTION = "List every receptor in the abstract as a JSON array of strings."
QUESTION = "Question: which receptors are named?"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny_model())


def prompt_of(text: str, tokenizer: Any, room: int, truncation: str = "middle_of_document") -> Prompt:
    return make_prompt(Instance("scierc_ner", "scierc_ner:v:0", text, "[]"), "tulu", tokenizer, room, truncation)


def test_a_prompt_is_the_prefix_that_training_saw(tokenizer: Any) -> None:
    text = f"{INSTRUCTION}\n\nNaïve β-cells <|assistant|> \U0001f9ec\n\n{QUESTION}"
    prompt = prompt_of(text, tokenizer, 1000)
    messages = (Message("user", text), Message("assistant", '["receptor"]'))
    ids, targets = chat.training_ids("tulu", messages, tokenizer)
    assert ids[: len(prompt.ids)] == prompt.ids
    assert targets.index(True) == len(prompt.ids)
    assert prompt.text == text
    assert prompt.truncated_tokens == 0


DOCUMENTS = {
    "one paragraph before a question": f"{INSTRUCTION}\n\nAbstract: {' '.join(WORDS)}\n\n{QUESTION}",
    "one paragraph at the end": f"{INSTRUCTION}\n\n{QUESTION}\n\nAbstract: {' '.join(WORDS)}",
    "a paper of many paragraphs": f"{INSTRUCTION}\n\n" + "\n\n".join(WORDS) + f"\n\n{QUESTION}",
    "a document before its instruction": "\n".join(WORDS) + f"\n\n{INSTRUCTION}\n\n{QUESTION}",
    "blank lines with spaces and returns": f"{INSTRUCTION}\r\n\r\n" + "\n \n".join(WORDS) + f"\n\t\n{QUESTION}",
}


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS.keys())
@pytest.mark.parametrize("room", [150, 400, 1200])
def test_the_middle_of_the_document_is_cut(text: str, room: int, tokenizer: Any) -> None:
    whole = prompt_of(text, tokenizer, 100_000)
    prompt = prompt_of(text, tokenizer, room)
    assert room - 16 <= len(prompt.ids) <= room
    assert INSTRUCTION in prompt.text
    assert QUESTION in prompt.text
    before, after = prompt.text.split(CUT)
    assert text.startswith(before)
    assert text.endswith(after)
    # Whole words on both sides, something of the document too, and every lost token is counted.
    assert before[-1].isspace() or text[len(before)].isspace()
    assert after[0].isspace() or text[-len(after) - 1].isspace()
    assert WORDS[0] in before
    assert WORDS[-1] in after
    lost = len(whole.ids) - len(prompt.ids)
    assert lost <= prompt.truncated_tokens <= lost + 12
    assert prompt.ids == chat.prompt_ids("tulu", [Message("user", prompt.text)], tokenizer)


def test_text_without_spaces_is_cut_at_a_character(tokenizer: Any) -> None:
    prompt = prompt_of("βγ" * 600, tokenizer, 200)
    assert 180 <= len(prompt.ids) <= 200
    assert set(prompt.text.replace(CUT, "")) == {"β", "γ"}


def test_left_keeps_the_last_tokens(tokenizer: Any) -> None:
    text = DOCUMENTS["one paragraph before a question"]
    whole, prompt = prompt_of(text, tokenizer, 100_000), prompt_of(text, tokenizer, 300, "left")
    assert prompt.ids == whole.ids[-300:]
    assert prompt.truncated_tokens == len(whole.ids) - 300
    assert INSTRUCTION not in prompt.text


def test_error_and_skip(tokenizer: Any) -> None:
    text = DOCUMENTS["one paragraph before a question"]
    with pytest.raises(
        ValueError, match=r"scierc_ner:v:0: its prompt of \d+ tokens does not fit the 300 .*eval.truncation"
    ):
        prompt_of(text, tokenizer, 300, "error")
    assert prompt_of(text, tokenizer, 300, "skip").skipped
    assert not prompt_of("short", tokenizer, 300, "skip").skipped


def test_no_room(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="markup alone"):
        prompt_of("word " * 100, tokenizer, 4)
    with pytest.raises(ValueError, match=r"max_new_tokens=256 leaves no room .* takes 256 tokens"):
        room_for_prompt(256, 256)
